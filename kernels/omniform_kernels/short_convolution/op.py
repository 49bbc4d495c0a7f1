"""The public face of the short convolution: checks, the carried inputs, and which form runs."""

import torch
from torch import Tensor

from omniform_kernels.backends import Backend, choose
from omniform_kernels.checks import ShapeError, check_shape
from omniform_kernels.short_convolution import cpu, reference

__all__ = ["short_convolution"]


def short_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    initial_state: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Convolve each channel with a short causal filter, and carry what the next chunk needs.

    .. math::
        y_t = b + \sum_{j=0}^{K-1} w_j \odot x_{t-K+1+j}

    The last weight meets the newest input. Any partition of a sequence into calls that pass the state on gives what
    one call gives.

    Args:
        x: the sequence, (B, L, C); L may be 0.
        weight: the filters, (C, K).
        bias: b, (C,).
        initial_state: the K - 1 inputs before x, (B, K - 1, C); zeros if None.
        backend: "reference" stores every window; "cpu", the choice of "auto", does not, and works on any device.

    Returns:
        The outputs (B, L, C), and the last K - 1 inputs (B, K - 1, C), both in the dtype of `x`.

    Raises:
        ShapeError: shapes do not fit each other.
        ValueError: the backend does not exist.
    """
    if x.ndim != 3 or weight.ndim != 2 or weight.shape[1] == 0:
        raise ShapeError(f"expected x (B, L, C) and weight (C, K >= 1); got {tuple(x.shape)}, {tuple(weight.shape)}")
    B, L, C = x.shape
    K = weight.shape[1]
    check_shape("weight", weight, (C, K))
    check_shape("bias", bias, (C,))
    check_shape("initial_state", initial_state, (B, K - 1, C))
    if initial_state is None:
        initial_state = x.new_zeros(B, K - 1, C)
    form = choose(backend, x.device, x.dtype)
    context = torch.cat([initial_state.to(x.dtype), x], dim=1)  # (B, K - 1 + L, C)
    weight = weight.to(x.dtype)
    y = reference.windowed(context, weight) if form == "reference" else cpu.shifted(context, weight)
    if bias is not None:
        y = y + bias.to(x.dtype)
    return y, context[:, L:]
