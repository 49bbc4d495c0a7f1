"""Which form of an op runs, and the one line where none can."""

import pytest
import torch

from omniform_kernels import backends
from omniform_kernels.backends import choose

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
FLOATS = (torch.float32, torch.bfloat16)


class Built:
    """A library as far as `choose` looks."""

    def __init__(self, available: bool) -> None:
        self.available = lambda: available


def test_auto_takes_the_fastest_form_that_the_device_has():
    native = Built(True)
    assert choose("auto", CPU, torch.float32, native=native, triton=FLOATS) == "native"
    assert choose("auto", CPU, torch.float64, native=native, triton=FLOATS) == "cpu"
    assert choose("auto", CPU, torch.float32, native=Built(False), triton=FLOATS) == "cpu"
    assert choose("auto", torch.device("meta"), torch.float32, native=native, triton=FLOATS) == "cpu"
    assert choose("auto", CUDA, torch.bfloat16, native=native, triton=FLOATS) == "triton"
    assert choose("auto", CUDA, torch.float64, native=native, triton=FLOATS) == "cpu"
    assert choose("auto", CUDA, torch.float32) == "cpu"


def test_auto_does_without_triton(monkeypatch):
    monkeypatch.setattr(backends, "_has_triton", lambda: False)
    assert choose("auto", CUDA, torch.float32, triton=FLOATS) == "cpu"
    with pytest.raises(ValueError, match="triton is not installed"):
        choose("triton", CUDA, torch.float32, triton=FLOATS)


def test_what_is_asked_for_is_what_runs():
    assert choose("reference", CUDA, torch.float32, triton=FLOATS) == "reference"
    assert choose("cpu", CUDA, torch.float32, triton=FLOATS) == "cpu"
    assert choose("native", CPU, torch.float32, native=Built(True)) == "native"
    assert choose("triton", CUDA, torch.bfloat16, triton=FLOATS) == "triton"


def test_triton_runs_on_a_cpu_only_under_its_interpreter(monkeypatch):
    monkeypatch.setattr(backends, "_is_interpreted", lambda: False)
    with pytest.raises(ValueError, match="a tensor on cpu"):
        choose("triton", CPU, torch.float32, triton=FLOATS)


@pytest.mark.parametrize(
    ("backend", "device", "dtype", "options", "reason"),
    [
        ("native", CPU, torch.float32, {}, "no C\\+\\+ form"),
        ("native", CPU, torch.float64, {"native": Built(True)}, "float64 on cpu"),
        ("native", CUDA, torch.float32, {"native": Built(True)}, "float32 on cuda"),
        ("native", CPU, torch.float32, {"native": Built(False)}, "no C\\+\\+ compiler"),
        ("triton", CUDA, torch.float32, {}, "no Triton form"),
        ("triton", CUDA, torch.float64, {"triton": FLOATS}, "torch.float64"),
        ("cuda", CPU, torch.float32, {}, "expected backend to be one of auto, reference"),
    ],
)
def test_refusals_name_the_reason(backend, device, dtype, options, reason):
    with pytest.raises(ValueError, match=reason):
        choose(backend, device, dtype, **options)
