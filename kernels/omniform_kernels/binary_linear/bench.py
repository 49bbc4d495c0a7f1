"""What is timed of the binary linear map: a wide layer, on one token and on many."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.backends import Backend
from omniform_kernels.bench.case import Case, Run, Target, cpu_forms, relative_error
from omniform_kernels.binary_linear import Activations, binary_linear, native, pack_signs

__all__ = ["cases"]


def cases(device: torch.device) -> Iterator[Case]:
    """Yield 2048 -> 2048 on a CPU, 4096 -> 14336 in bfloat16 on a GPU."""
    cuda = device.type == "cuda"
    for N in (1, 4096) if cuda else (1, 256):
        for kind in ("int8", "sign"):
            yield _case(
                device, torch.bfloat16 if cuda else torch.float32, N, (4096, 14336) if cuda else (2048, 2048), kind
            )


def _case(device: torch.device, dtype: torch.dtype, N: int, sizes: tuple[int, int], kind: Activations) -> Case:
    D, E = sizes
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, generator=generator).to(device, dtype)
    weight = torch.randn(E, D, generator=generator).to(device)
    words, scale = pack_signs(weight), weight.abs().mean()
    forms = ("cpu", "triton") if device.type == "cuda" else cpu_forms(native.LIBRARY)

    def run(form: Backend) -> Tensor:
        with torch.no_grad():
            return binary_linear(x, words, scale, activations=kind, backend=form)

    def check() -> float:
        expected = run("reference")
        return max(relative_error(run(form), expected) for form in forms)

    def dense() -> Run:
        same = weight.to(dtype)
        return lambda: F.linear(x, same)

    name = str(dtype).removeprefix("torch.")
    # One token waits for the weight, a sixteenth of bfloat16's bytes and a thirty-second of float32's.
    targets = (Target(form="triton" if device.type == "cuda" else "native", peer=name, ratio=3.0),) if N == 1 else ()
    return Case(
        op="binary_linear",
        name=f"forward, {kind} activations, {D} -> {E}, {N} tokens",
        forms={form: lambda form=form: run(form) for form in forms},
        peers={name: dense},
        check=check,
        bound=1e-6 if dtype == torch.float32 else 1e-2,
        targets=targets,
        flops=2.0 * N * D * E,
        bytes=float(words.nbytes),
        repeats=11,
    )
