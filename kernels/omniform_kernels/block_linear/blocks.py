"""How a weight becomes codes of 4 bits, two a byte, and scales; and back.

    E outputs   D inputs   P inputs rounded up to whole blocks   G block size

Codes lie in units of 32 inputs and 16 bytes: byte j of a unit holds input j in its low and input j + 16 in its high
half, so that neither half has to be interleaved.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.block_linear.formats import FORMATS, Format, largest, levels, nearest
from omniform_kernels.checks import ShapeError, check_shape

__all__ = ["UNIT", "dequantize_blocks", "quantize_blocks"]

UNIT = 32
_SMALLEST = 1e-30  # a block of zeros has a scale too


def quantize_blocks(
    weight: Tensor,
    format: Format = "e2m1",
    block_size: int | None = 32,
    *,
    ratios: Sequence[float] = (1.0,),
    importance: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Quantise a weight to 4 bits, block by block along its inputs.

    A block's scale maps :math:`r \max |w|` to the format's largest number, with the ratio r that gives the least
    squared error :math:`\sum_i h_i (\hat w_i - w_i)^2`.

    Args:
        weight: (E, D).
        format: "int4", or "e2m1" and its like: so many exponent and mantissa bits.
        block_size: G, a multiple of 32; None for one block an output.
        ratios: the clipping ratios r to choose from.
        importance: h, (D,), such as the mean square of each input; ones if None.

    Returns:
        Packed codes (E, P / 2) uint8, and scales (E, P / G) float32; the inputs from D to P have a weight of 0.

    Raises:
        ShapeError: the block size is not a positive multiple of 32, or a shape does not fit.
        ValueError: the format does not exist.
    """
    if format not in FORMATS:
        raise ValueError(f"expected format to be one of {', '.join(FORMATS)}; got {format!r}")
    if weight.ndim != 2 or 0 in weight.shape:
        raise ShapeError(f"expected weight of shape (E, D), not empty; got {tuple(weight.shape)}")
    E, D = weight.shape
    size = -(-D // UNIT) * UNIT if block_size is None else block_size
    if size < UNIT or size % UNIT:
        raise ShapeError(f"expected block_size to be a multiple of {UNIT}; got {block_size}")
    check_shape("importance", importance, (D,))
    padding = (0, -D % size)
    blocks = F.pad(weight.detach().float(), padding).view(E, -1, size)  # (E, P / G, G)
    if importance is not None:
        importance = F.pad(importance.float(), padding).view(-1, size)
    scales = _scales(blocks, format, ratios, importance)
    return _pack(nearest(blocks / scales.unsqueeze(-1), format).view(E, -1), format), scales


def dequantize_blocks(packed: Tensor, scales: Tensor, format: Format, inputs: int) -> Tensor:
    """Return the weight (E, inputs) float32 that `quantize_blocks` made into `packed` and `scales`."""
    numbers = _numbers(packed, format).view(packed.shape[0], scales.shape[1], -1)  # (E, P / G, G)
    return (numbers * scales.float().unsqueeze(-1)).flatten(1)[:, :inputs]


def _scales(blocks: Tensor, format: Format, ratios: Sequence[float], importance: Tensor | None) -> Tensor:
    """Return the scales (E, P / G) with the least error among `ratios`."""
    full = blocks.abs().amax(-1).clamp(min=_SMALLEST) / largest(format)
    if len(ratios) == 1:
        return full * ratios[0]
    best, least = full, torch.full_like(full, torch.inf)
    for ratio in ratios:
        scales = full * ratio
        error = (nearest(blocks / scales.unsqueeze(-1), format) * scales.unsqueeze(-1) - blocks).square()
        total = (error if importance is None else error * importance).sum(-1)
        best, least = torch.where(total < least, scales, best), torch.minimum(total, least)
    return best


def _pack(numbers: Tensor, format: Format) -> Tensor:
    """Return the codes of whole numbers (E, P), two a byte: (E, P / 2) uint8."""
    table = levels(format)
    offset = max(abs(level) for level in table)
    code_of = torch.zeros(2 * offset + 1, dtype=torch.uint8)
    for code in reversed(range(16)):  # 0 has two codes in a floating format: the first stays
        code_of[table[code] + offset] = code
    codes = code_of.to(numbers.device)[numbers.long() + offset].unflatten(1, (-1, 2, UNIT // 2))
    return (codes[:, :, 0] | (codes[:, :, 1] << 4)).flatten(1)


def _numbers(packed: Tensor, format: Format) -> Tensor:
    """Return the whole numbers (E, P) int8 that the codes stand for, from tables of what a byte's halves are."""
    table, byte = torch.tensor(levels(format), dtype=torch.int8, device=packed.device), packed.flatten().int()
    halves = torch.arange(256, device=packed.device)
    low, high = (table[code].index_select(0, byte).view(-1, UNIT // 2) for code in (halves & 15, halves >> 4))
    return torch.stack([low, high], 1).view(packed.shape[0], -1)
