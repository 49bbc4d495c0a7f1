"""The long convolution beside torch's direct one, and by itself as the sequence grows."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.bench.case import Case, Run, Target, relative_error
from omniform_kernels.long_convolution import long_convolution

__all__ = ["cases"]


def cases(device: torch.device) -> Iterator[Case]:
    """Yield forward+backward, causal: filters of 16 and 2,048 taps beside torch, then scaling up to 65,536 tokens."""
    gpu = device.type == "cuda"
    B, C = (8, 512) if gpu else (1, 64)
    for L, taps in ((2048, 16), (2048, 2048)):
        leaves = _make(B, L, taps, C, device)
        target = Target(form="cpu", peer="F.conv1d", ratio=1.0 if taps > 16 else 0.7)
        yield _case(f"B{B} L{L} C{C}, {taps} taps", leaves, {"F.conv1d": partial(_conv1d, leaves)}, (target,))
    for L in (4096, 16384, 65536):
        yield _case(f"scaling, B1 L{L} C16, {L} taps", _make(1, L, L, 16, device), {}, ())


def _case(name: str, leaves: list[Tensor], peers: dict, targets: tuple[Target, ...]) -> Case:
    return Case(
        op="long_convolution",
        name=f"causal, forward+backward, {name}",
        forms={"cpu": partial(_ours, "cpu", leaves)},
        peers=peers,
        check=partial(_check, leaves),
        bound=1e-5,
        targets=targets,
        repeats=5,
    )


def _make(B: int, L: int, taps: int, C: int, device: torch.device) -> list[Tensor]:
    shapes = ((B, L, C), (taps, C))
    return [torch.randn(shape, device=device).requires_grad_() for shape in shapes]


def _ours(form: str, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    y = long_convolution(*leaves, backend=form)  # pyright: ignore[reportArgumentType]
    return torch.autograd.grad(y, leaves, torch.ones_like(y))


def _conv1d(leaves: list[Tensor]) -> Run:
    def run() -> object:
        x, filters = leaves
        kernel = filters.t().flip(-1).unsqueeze(1)
        y = F.conv1d(F.pad(x.transpose(1, 2), (len(filters) - 1, 0)), kernel, groups=x.shape[-1]).transpose(1, 2)
        return torch.autograd.grad(y, leaves, torch.ones_like(y))

    return run


def _check(leaves: list[Tensor]) -> float:
    x, filters = leaves
    small = [leaf.detach().requires_grad_() for leaf in (x[:1, :200, :8], filters[:200, :8])]
    exact = [leaf.detach().double().requires_grad_() for leaf in small]
    return max(map(relative_error, _ours("cpu", small), _ours("reference", exact)))
