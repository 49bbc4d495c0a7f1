"""The public face of the long convolution: checks, dtypes, and which form runs."""

import torch
from torch import Tensor

from omniform_kernels.backends import Backend, choose
from omniform_kernels.checks import ShapeError
from omniform_kernels.long_convolution import cpu, reference

__all__ = ["long_convolution"]


def long_convolution(x: Tensor, filters: Tensor, *, causal: bool = True, backend: Backend = "auto") -> Tensor:
    r"""Convolve each channel with a filter as long as the grid, zeros beyond the borders.

    .. math::
        y_t = \sum_{s} h_s \odot x_{t-s}

    where t and s are grid indices; s >= 0 along every axis if causal, else h is centred on s = 0.

    Args:
        x: tokens on a grid of any rank, (B, *grid, C).
        filters: h, (*taps, C). Causal: taps 0, 1, ... along every axis, at most as many as the grid has points.
            Otherwise an odd number of taps, centred, at most 2n - 1 along an axis of n points.
        causal: whether a token sees only what does not lie after it along any axis.
        backend: "reference" sums over taps; "cpu", the choice of "auto", takes time and memory of n log n for n points
            and works on any device: it multiplies Fourier transforms, or convolves directly where there are few taps.
            There is no Triton form: nearly all of the time goes into transforms, which on a GPU are cuFFT's, and a
            causal filter of a few taps is the short convolution's.

    Returns:
        (B, *grid, C) in the dtype of `x`, computed in float32 at least.

    Raises:
        ShapeError: ranks or channels differ, or there are too many taps or, when centred, an even number.
        ValueError: the backend does not exist.

    Source: Poli et al., Hyena Hierarchy, arXiv 2302.10866; on grids, Zimerman and Wolf, arXiv 2309.13600.
    """
    _check_shapes(x, filters, causal)
    origin = tuple(0 if causal else size // 2 for size in filters.shape[:-1])
    dtype = torch.promote_types(x.dtype, torch.float32)
    form = choose(backend, x.device, dtype)
    convolve = reference.direct if form == "reference" else cpu.convolve
    with torch.autocast(x.device.type, enabled=False):
        return convolve(x.to(dtype), filters.to(dtype), origin).to(x.dtype)


def _check_shapes(x: Tensor, filters: Tensor, causal: bool) -> None:
    if x.ndim < 3 or filters.ndim != x.ndim - 1 or filters.shape[-1] != x.shape[-1]:
        shapes = f"{tuple(x.shape)}, {tuple(filters.shape)}"
        raise ShapeError(f"expected x (B, *grid, C) and filters (*taps, C); got {shapes}")
    for taps, n in zip(filters.shape[:-1], x.shape[1:-1], strict=True):
        if taps == 0 or taps > (n if causal else 2 * n - 1) or not (causal or taps % 2):
            rule = f"1 to {n} taps" if causal else f"an odd number of taps up to {2 * n - 1}"
            raise ShapeError(f"expected {rule} along an axis of {n} points; got {taps}")
