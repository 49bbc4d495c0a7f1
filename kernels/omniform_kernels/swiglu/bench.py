"""The gate beside torch's silu and product, on the halves of one projection."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.backends import Form
from omniform_kernels.bench.case import Case, Run, Target, cpu_forms, relative_error
from omniform_kernels.swiglu import native, swiglu

__all__ = ["cases"]


def cases(device: torch.device) -> Iterator[Case]:
    """Yield forward+backward: 4,096 rows of 1,536 channels on a CPU, 16,384 rows of 11,008 in bf16 on a GPU."""
    on_gpu = device.type == "cuda"
    N, C, dtype = (16384, 11008, torch.bfloat16) if on_gpu else (4096, 1536, torch.float32)
    x = torch.randn(N, 2 * C, dtype=dtype, device=device, requires_grad=True)
    dy = torch.randn(N, C, dtype=dtype, device=device)
    forms: tuple[Form, ...] = ("triton",) if on_gpu else cpu_forms(native.LIBRARY)
    yield Case(
        op="swiglu",
        name=f"gate, forward+backward, {N} x {C} {str(dtype).partition('.')[2]}",
        forms={form: partial(_run, x, dy, form) for form in forms},
        peers={"torch": partial(_torch, x, dy)},
        check=lambda: max(_error(x, dy, form) for form in forms),
        bound=1e-2 if on_gpu else 1e-5,
        targets=(Target(form=forms[-1], peer="torch", ratio=1.0),),
        bytes=8.0 * dy.nbytes,  # gate and up are read twice, dy once; y and two gradients are written
    )


def _run(x: Tensor, dy: Tensor, form: Form) -> tuple[Tensor, ...]:
    gate, up = x.chunk(2, dim=-1)
    y = swiglu(gate, up, backend=form)
    return y, *torch.autograd.grad(y, (gate, up), dy)


def _torch(x: Tensor, dy: Tensor) -> Run:
    def run() -> object:
        gate, up = x.chunk(2, dim=-1)
        return torch.autograd.grad(F.silu(gate) * up, (gate, up), dy)

    return run


def _error(x: Tensor, dy: Tensor, form: Form) -> float:
    small, dy = x[:64].detach().requires_grad_(), dy[:64]
    exact = _run(small.detach().double().requires_grad_(), dy.double(), "reference")
    return max(map(relative_error, _run(small, dy, form), exact))
