"""The long convolution: through the Fourier transform, or directly where filters are short."""

from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["convolve"]

# Up to so many taps, by the rank of the grid, forward and backward are faster without a transform. Measured on a CPU.
_FEW_TAPS = {1: 16, 2: 64, 3: 64}
_DIRECT = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def convolve(x: Tensor, filters: Tensor, origin: tuple[int, ...]) -> Tensor:
    """Convolve x (B, *grid, C) with filters (*taps, C) whose tap at `origin` has no shift."""
    taps = filters.shape[:-1]
    # On a GPU torch's direct convolution may round to fewer bits, and nothing was measured.
    few = x.is_cpu and prod(taps) <= _FEW_TAPS.get(len(taps), 0)
    form = _direct if few else _Fourier.apply
    return form(x.movedim(-1, 1), filters.movedim(-1, 0), origin).movedim(1, -1)


def _direct(x: Tensor, filters: Tensor, origin: tuple[int, ...]) -> Tensor:
    """Convolve x (B, C, *grid) with filters (C, *taps)."""
    taps = filters.shape[1:]
    # Torch correlates, with a kernel that looks o places ahead once it is reversed.
    around = [pad for f, o in zip(reversed(taps), reversed(origin), strict=True) for pad in (f - 1 - o, o)]
    kernel = filters.flip(tuple(range(1, filters.ndim))).unsqueeze(1)  # (C, 1, *taps)
    return _DIRECT[len(taps)](F.pad(x, around), kernel, groups=len(filters))


class _Fourier(torch.autograd.Function):
    """Multiply spectra of x (B, C, *grid) and filters (C, *taps), padded so that nothing wraps around into the grid.

    Gradients are products with the same spectra. Torch's own would take complex transforms where real ones do.
    """

    @staticmethod
    def forward(ctx, x: Tensor, filters: Tensor, origin: tuple[int, ...]) -> Tensor:
        ctx.origin, ctx.sizes = origin, _sizes(x, filters, origin)
        spectrum, response = _spectrum(x, ctx.sizes), _spectrum(filters, ctx.sizes)
        ctx.save_for_backward(x, filters, spectrum, response)
        return _crop(_signal(spectrum * response, ctx.sizes), origin, x.shape[2:])

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (dy,) = grad_outputs
        x, filters, spectrum, response = ctx.saved_tensors
        sizes, start = ctx.sizes, (0,) * len(ctx.sizes)
        if torch.is_grad_enabled():  # to be differentiated again, they must be seen to come from x and the filters
            spectrum, response = _spectrum(x, sizes), _spectrum(filters, sizes)
        before = [pad for o in reversed(ctx.origin) for pad in (o, 0)]
        dfull = _spectrum(F.pad(dy, before), sizes)
        dx = dfilters = None
        if ctx.needs_input_grad[0]:
            dx = _crop(_signal(dfull * response.conj(), sizes), start, x.shape[2:])
        if ctx.needs_input_grad[1]:
            dfilters = _crop(_signal((dfull * spectrum.conj()).sum(0), sizes), start, filters.shape[1:])
        return dx, dfilters, None


def _sizes(x: Tensor, filters: Tensor, origin: tuple[int, ...]) -> list[int]:
    """Return lengths of transforms: from these on, what wraps around lands beside the grid and beside the filters."""
    lengths = zip(x.shape[2:], filters.shape[1:], origin, strict=True)
    return [_fast_size(max(n + f - 1 - o, n + o)) for n, f, o in lengths]


def _spectrum(x: Tensor, sizes: list[int]) -> Tensor:
    return torch.fft.rfftn(x, sizes)  # (..., *frequencies)


def _signal(spectrum: Tensor, sizes: list[int]) -> Tensor:
    return torch.fft.irfftn(spectrum, sizes)  # (..., *sizes)


def _crop(x: Tensor, start: tuple[int, ...], lengths: tuple[int, ...]) -> Tensor:
    """Cut lengths from the start on out of (..., *sizes)."""
    return x[(..., *(slice(o, o + n) for o, n in zip(start, lengths, strict=True)))]


def _fast_size(n: int) -> int:
    """Return the smallest even 2^a 3^b 5^c >= n, a length at which FFTs are fast."""
    size = n + n % 2
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2
