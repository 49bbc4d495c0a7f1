"""The public face of neighborhood attention: checks, dtypes, and which form runs."""

import torch
from torch import Tensor

from omniform_kernels.backends import Backend, choose
from omniform_kernels.checks import ShapeError, check_shape
from omniform_kernels.neighborhood_attention import cpu, reference

__all__ = ["neighborhood_attention"]


def neighborhood_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    kernel_size: tuple[int, ...],
    dilation: tuple[int, ...] | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    scale: float | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Attend from each token of a grid to its nearest neighbours.

    .. math::
        o_i = \sum_{j \in \rho(i)} \operatorname{softmax}_j(s\, q_i \cdot k_j + b_{j - i})\, v_j

    Along an axis with kernel size K and dilation d, token i sees K tokens of its residue class modulo d: the window is
    centred on i (an even K has one more token before i than after it) and moved inward at borders, so that every token
    has K neighbours. A residue class of fewer than K tokens is seen whole.

    Args:
        q, k: queries and keys on a grid of rank 1 to 3, (B, *grid, H, D).
        v: values, (B, *grid, H, Dv).
        kernel_size: K per axis.
        dilation: d per axis; 1 if None.
        bias: b, one value per head and relative position in steps of d, (H, 2K - 1 per axis), offset 0 amid.
        mask: valid tokens, (B, *grid) of bool; the others are given no weight. A token with no valid neighbour gets 0.
        scale: s; D ** -0.5 if None.
        backend: "reference" is dense, of memory (B, H, T, T) for T tokens; "cpu", the choice of "auto", attends tile by
            tile in memory proportional to T * prod(K), and works on any device.

    Returns:
        (B, *grid, H, Dv) in the dtype of `v`, computed in float32 at least.

    Raises:
        ShapeError: shapes do not fit each other, or the grid is not of rank 1 to 3.
        ValueError: a kernel size or dilation is below 1, or the backend does not exist.

    Source: Hassani et al., Neighborhood Attention Transformer, arXiv 2204.07143; dilated, Hassani and Shi,
    arXiv 2209.15001.
    """
    dilation = (1,) * len(kernel_size) if dilation is None else dilation
    _check_shapes(q, k, v, kernel_size, dilation, bias, mask)
    dtype = torch.promote_types(torch.promote_types(q.dtype, v.dtype), torch.float32)
    form = choose(backend, q.device, dtype)
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    bias = None if bias is None else bias.to(dtype)
    with torch.autocast(q.device.type, enabled=False):
        inputs = (q.to(dtype) * factor, k.to(dtype), v.to(dtype), kernel_size, dilation, bias, mask)
        out = reference.dense(*inputs) if form == "reference" else cpu.tiled(*inputs)
    return out.to(v.dtype)


def _check_shapes(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kernel_size: tuple[int, ...],
    dilation: tuple[int, ...],
    bias: Tensor | None,
    mask: Tensor | None,
) -> None:
    rank = q.ndim - 3
    if not 1 <= rank <= 3 or q.numel() == 0:
        raise ShapeError(f"expected q of shape (B, *grid, H, D), the grid of rank 1 to 3; got {tuple(q.shape)}")
    for name, value in (("kernel_size", kernel_size), ("dilation", dilation)):
        if len(value) != rank or min(value) < 1:
            raise ValueError(f"expected {name} of {rank} numbers >= 1, one per axis; got {value}")
    check_shape("k", k, tuple(q.shape))
    check_shape("v", v, (*q.shape[:-1], v.shape[-1]))
    check_shape("bias", bias, (q.shape[-2], *(2 * size - 1 for size in kernel_size)))
    check_shape("mask", mask, tuple(q.shape[:-2]))
