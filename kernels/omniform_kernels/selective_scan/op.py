"""The public face of the selective scan: checks, dtypes, and which form runs."""

import torch
from torch import Tensor

from omniform_kernels.backends import Backend, choose
from omniform_kernels.checks import ShapeError, check_shape
from omniform_kernels.selective_scan import cpu, reference

__all__ = ["selective_scan"]


def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    initial_state: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Scan a sequence with a diagonal state space whose step, input and output maps depend on the token.

    .. math::
        h_t = e^{\Delta_t A} \odot h_{t-1} + \Delta_t x_t B_t^\top, \qquad y_t = h_t C_t + D \odot x_t

    A padded token is one with dt = 0: it leaves the state alone.

    Args:
        x: the sequence, (Bt, L, Di).
        dt: step sizes, >= 0 (after the softplus), (Bt, L, Di).
        A: rates, < 0, (Di, N).
        B, C: input and output maps, (Bt, L, N).
        D: weight of the skip, (Di,); none if None.
        initial_state: h_0, (Bt, Di, N); zeros if None.
        backend: "reference" is plain autograd and twice differentiable; "cpu", the choice of "auto", keeps only the
            states between blocks of steps and recomputes the rest in the backward pass; it works on any device. Both
            are unrolled by torch.compile: correct, but slow to compile beyond some hundred tokens.

    Returns:
        The outputs (Bt, L, Di) in the dtype of `x`, and h_L (Bt, Di, N) in float32, or float64 if an input is.
        Everything inside is computed in the dtype of the state, under autocast too.

    Raises:
        ShapeError: shapes do not fit each other, or L = 0.
        ValueError: the backend does not exist.

    Source: Gu and Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, arXiv 2312.00752.
    """
    _check_shapes(x, dt, A, B, C, D, initial_state)
    dtype = torch.promote_types(torch.promote_types(x.dtype, A.dtype), torch.float32)
    form = choose(backend, x.device, dtype)
    if initial_state is None:
        initial_state = x.new_zeros(x.shape[0], *A.shape, dtype=dtype)
    with torch.autocast(x.device.type, enabled=False):
        inputs = (x.to(dtype), dt.to(dtype), A.to(dtype), B.to(dtype), C.to(dtype), initial_state.to(dtype))
        y, state = reference.recurrent(*inputs) if form == "reference" else cpu.blocked(*inputs)
        if D is not None:
            y = y + D.to(dtype) * x.to(dtype)
    return y.to(x.dtype), state


def _check_shapes(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, initial_state: Tensor | None
) -> None:
    if x.ndim != 3 or x.shape[1] == 0:
        raise ShapeError(f"expected x of shape (Bt, L, Di) with L >= 1; got {tuple(x.shape)}")
    Bt, L, Di = x.shape
    N = A.shape[-1]
    check_shape("dt", dt, (Bt, L, Di))
    check_shape("A", A, (Di, N))
    check_shape("B", B, (Bt, L, N))
    check_shape("C", C, (Bt, L, N))
    check_shape("D", D, (Di,))
    check_shape("initial_state", initial_state, (Bt, Di, N))
