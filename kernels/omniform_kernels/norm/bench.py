"""Norms with a residual beside torch's sum and norm."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.bench.case import Case, Run, relative_error
from omniform_kernels.norm import layer_norm, rms_norm

__all__ = ["cases"]


def cases(device: torch.device) -> Iterator[Case]:
    """Yield forward+backward of both norms: 4,096 rows of 512 on a CPU, 16,384 rows of 4,096 in bf16 on a GPU."""
    N, D, dtype = (16384, 4096, torch.bfloat16) if device.type == "cuda" else (4096, 512, torch.float32)
    form = "triton" if device.type == "cuda" else "cpu"
    for name, norm, theirs in (("RMSNorm", rms_norm, F.rms_norm), ("LayerNorm", layer_norm, F.layer_norm)):
        x, residual, dy = (torch.randn(N, D, dtype=dtype, device=device) for _ in range(3))
        leaves = [x, residual, torch.ones(D, dtype=dtype, device=device)]
        leaves = [leaf.requires_grad_() for leaf in leaves]
        ours = partial(_ours, norm, form, dy, leaves)
        yield Case(
            op="norm",
            name=f"{name} of x + residual, forward+backward, {N} x {D} {str(dtype).partition('.')[2]}",
            forms={form: ours},
            peers={"torch": partial(_torch, theirs, dy, leaves)},
            check=partial(_check, norm, form, dy, leaves),
            bound=1e-2 if dtype == torch.bfloat16 else 1e-5,
            bytes=8.0 * x.nbytes,  # forward reads x and r, writes z and y; backward reads dy, dz and z, writes dx
        )


def _ours(norm, form: str, dy: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    x, residual, weight = leaves
    y, total = norm(x, weight, residual=residual, backend=form)
    return torch.autograd.grad((y, total), leaves, (dy, dy))


def _torch(norm, dy: Tensor, leaves: list[Tensor]) -> Run:
    def run() -> object:
        x, residual, weight = leaves
        total = x + residual
        return torch.autograd.grad((norm(total, weight.shape, weight), total), leaves, (dy, dy))

    return run


def _check(norm, form: str, dy: Tensor, leaves: list[Tensor]) -> float:
    rows = [leaves[0][:64], leaves[1][:64], leaves[2]]
    small = [leaf.detach().requires_grad_() for leaf in rows]
    exact = [leaf.detach().double().requires_grad_() for leaf in rows]
    actual = _ours(norm, form, dy[:64], small)
    return max(map(relative_error, actual, _ours(norm, "reference", dy[:64].double(), exact)))
