"""The short convolution with SiLU beside torch's depthwise convolution."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.bench.case import Case, Run, Target, cpu_forms, relative_error
from omniform_kernels.short_convolution import native, short_convolution

__all__ = ["cases"]

_TAPS = 4


def cases(device: torch.device) -> Iterator[Case]:
    """Yield forward+backward: 2,048 tokens of 1,536 channels on a CPU, 4 x 8,192 of 4,096 in bf16 on a GPU."""
    gpu = device.type == "cuda"
    B, L, C, dtype = (4, 8192, 4096, torch.bfloat16) if gpu else (1, 2048, 1536, torch.float32)
    x, dy = (torch.randn(B, L, C, dtype=dtype, device=device) for _ in range(2))
    leaves = [x, torch.randn(C, _TAPS, dtype=dtype, device=device), torch.randn(C, dtype=dtype, device=device)]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    names = ("triton",) if gpu else cpu_forms(native.LIBRARY)
    yield Case(
        op="short_convolution",
        name=f"with SiLU, forward+backward, B{B} L{L} C{C} K{_TAPS} {str(dtype)[6:]}",
        forms={name: partial(_ours, name, dy, leaves) for name in names},
        peers={"F.conv1d": partial(_conv1d, dy, leaves)},
        check=partial(_check, names, dy, leaves),
        bound=1e-2 if gpu else 1e-5,
        targets=tuple(Target(form=name, peer="F.conv1d", ratio=1.0) for name in names),
        bytes=5.0 * x.nbytes,  # forward reads x and writes y; backward reads dy and x, writes dx
    )


def _ours(form: str, dy: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    y, _ = short_convolution(*leaves, activation="silu", backend=form)  # pyright: ignore[reportArgumentType]
    return torch.autograd.grad(y, leaves, dy)


def _conv1d(dy: Tensor, leaves: list[Tensor]) -> Run:
    def run() -> object:
        x, weight, bias = leaves
        padded = F.pad(x.transpose(1, 2), (_TAPS - 1, 0))
        y = F.silu(F.conv1d(padded, weight.unsqueeze(1), bias, groups=len(weight)).transpose(1, 2))
        return torch.autograd.grad(y, leaves, dy)

    return run


def _check(forms: Sequence[str], dy: Tensor, leaves: list[Tensor]) -> float:
    x, dy = leaves[0][:1, :100], dy[:1, :100]
    small = [leaf.detach().requires_grad_() for leaf in (x, *leaves[1:])]
    exact = [leaf.detach().double().requires_grad_() for leaf in small]
    expected = _ours("reference", dy.double(), exact)
    return max(relative_error(*pair) for form in forms for pair in zip(_ours(form, dy, small), expected, strict=True))
