from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor

from omniform_kernels.compiler import compiler

Run = Callable[..., Tensor | tuple[Tensor, ...]]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _needs_compiler(request: pytest.FixtureRequest):
    """Skip what is asked of the C++ form where there is no compiler."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    if "native" in (parameters.get("form"), parameters.get("backend")) and compiler() is None:
        pytest.skip("no C++ compiler")


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where Triton's kernels run: a GPU if there is one, else the interpreter on the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="session")
def on(device: torch.device):
    """Bring tensors to where a form is tested: Triton's to the device, those of all others to the CPU."""

    def move(form: str, *tensors: Tensor) -> list[Tensor]:
        return [tensor.to(device if form == "triton" else "cpu") for tensor in tensors]

    return move


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch):
    """Fill all memory that is asked for from the call on, so that what an op leaves unwritten shows: NaN, or -77."""

    def filled(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def run(*args, **options) -> Tensor:
            buffer = make(*args, **options)
            if buffer.is_floating_point() or buffer.is_complex():
                return buffer.fill_(torch.nan)
            return buffer.fill_(-77) if buffer.is_signed() else buffer

        return run

    def start(patch: pytest.MonkeyPatch = monkeypatch) -> None:
        for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
            patch.setattr(owner, name, filled(getattr(owner, name)))

    return start


@pytest.fixture
def poisoned(poison) -> None:
    """Poison all memory that the test asks for."""
    poison()


@pytest.fixture
def gradients():
    """Run a function on fresh leaves; return its outputs and the gradient of a random projection of all of them."""

    def run(function: Run, inputs: Sequence[Tensor]) -> list[Tensor]:
        leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
        outputs = function(*leaves)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        generator = torch.Generator().manual_seed(1)
        weights = [torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out) for out in outputs]
        return [*outputs, *torch.autograd.grad(outputs, leaves, weights, materialize_grads=True)]

    return run


@pytest.fixture
def compiled():
    """Capture a function as one graph, or raise where it breaks; nothing is remembered from other tests."""
    torch.compiler.reset()
    return partial(torch.compile, fullgraph=True, backend="eager")


@pytest.fixture
def agree(gradients):
    """Assert that two functions agree in outputs and in every gradient, relative to the largest entry (at least 1)."""

    def check(actual: Run, expected: Run, inputs: Sequence[Tensor], bound: float = 1e-10) -> None:
        for i, (a, e) in enumerate(zip(gradients(actual, inputs), gradients(expected, inputs), strict=True)):
            assert (a.shape, a.dtype) == (e.shape, e.dtype)
            if a.numel() == 0:
                continue
            error = (a - e).abs().max() / e.abs().max().clamp(min=1)
            assert error <= bound, f"entry {i} (outputs, then gradients) is off by {error:.1e}"

    return check
