"""The long convolution through the Fourier transform, padded with zeros so that nothing wraps around."""

import torch
from torch import Tensor

__all__ = ["fourier"]


def fourier(x: Tensor, filters: Tensor, origin: tuple[int, ...]) -> Tensor:
    """Convolve x (B, *grid, C) with filters (*taps, C) whose tap at `origin` has no shift."""
    grid = x.shape[1:-1]
    taps = filters.shape[:-1]
    # Wrapped outputs land beside the grid, not in it, from this size on.
    sizes = [_fast_size(max(n + f - 1 - o, n + o)) for n, f, o in zip(grid, taps, origin, strict=True)]
    axes = list(range(-len(grid), 0))
    spectrum = torch.fft.rfftn(x.movedim(-1, 1), sizes, axes)  # (B, C, *frequencies)
    response = torch.fft.rfftn(filters.movedim(-1, 0), sizes, axes)  # (C, *frequencies)
    y = torch.fft.irfftn(spectrum * response, sizes, axes)  # (B, C, *sizes)
    crop = tuple(slice(o, o + n) for n, o in zip(grid, origin, strict=True))
    return y[(slice(None), slice(None), *crop)].movedim(1, -1)


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
