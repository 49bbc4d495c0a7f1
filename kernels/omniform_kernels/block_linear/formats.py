r"""Numbers of 4 bits: whole ones in two's complement, and floating ones of E exponent and M mantissa bits.

A floating code is sign, exponent e, mantissa f. In units of the least number above 0 all are whole:

.. math::
    \ell = \pm f \text{ if } e = 0, \qquad \ell = \pm (2^M + f) \, 2^{e - 1} \text{ else}

A real-valued exponent bias, as LLM-FP4 searches for (arXiv 2310.16836), is the same as a scale on these.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

__all__ = ["FORMATS", "Format", "largest", "levels", "mantissa_bits", "nearest"]

Format = Literal["int4", "e1m2", "e2m1", "e3m0"]
FORMATS: tuple[Format, ...] = get_args(Format)


def mantissa_bits(format: Format) -> int | None:
    """Return M; None for whole numbers."""
    return None if format == "int4" else int(format[-1])


def levels(format: Format) -> tuple[int, ...]:
    """Return the 16 numbers by their codes, in units of the least above 0."""
    bits = mantissa_bits(format)
    if bits is None:
        return (*range(8), *range(-8, 0))
    magnitudes = [_magnitude(code >> bits, code % 2**bits, bits) for code in range(8)]
    return (*magnitudes, *(-magnitude for magnitude in magnitudes))


def largest(format: Format) -> int:
    """Return the largest number, in units of the least above 0."""
    return max(levels(format))


def nearest(x: Tensor, format: Format) -> Tensor:
    """Return the number of the format that is nearest to each of x, in the dtype of x.

    Of two that are equally near, that with the even mantissa (`ml_dtypes`' rule too); beyond the largest, the largest.
    """
    bits = mantissa_bits(format)
    if bits is None:
        return x.round().clamp(-8, 7)
    x = x.clamp(-largest(format), largest(format))
    exponent = (torch.frexp(x).exponent - 1 - bits).clamp(min=0)  # of the distance between neighbours
    step = (1 << exponent).to(x.dtype)
    return (x / step).round() * step


def _magnitude(exponent: int, fraction: int, bits: int) -> int:
    return fraction if exponent == 0 else (2**bits + fraction) * 2 ** (exponent - 1)
