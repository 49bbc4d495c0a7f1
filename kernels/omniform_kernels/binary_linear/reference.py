"""The definition of the binary linear map, in exact integers, and how signs are packed.

Shapes: N tokens, D inputs, E outputs, W = D / 64 words, rounded up.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from omniform_kernels.int8_linear import reference as int8

__all__ = ["WORD", "Activations", "forward", "pack_signs", "quantize", "unpack_signs"]

Activations = Literal["int8", "sign"]

WORD = 64


def pack_signs(x: Tensor) -> Tensor:
    """Return the signs of x (..., D) as bits of int64 words (..., W), input i in bit i % 64 of word i // 64.

    A bit is set where x >= 0; those behind the last input are not.
    """
    bits = F.pad(x >= 0, (0, -x.shape[-1] % WORD)).unflatten(-1, (-1, WORD))
    # The bits are disjoint, so that their sum is their union; that of bit 63 wraps around to the sign.
    return (bits.long() << torch.arange(WORD, device=x.device)).sum(-1)


def unpack_signs(words: Tensor, inputs: int) -> Tensor:
    """Return the signs (..., D) as int8, -1 or 1."""
    bits = torch.arange(256, device=words.device)[:, None] >> torch.arange(8, device=words.device)
    signs_of_byte = (2 * (bits & 1) - 1).to(torch.int8)  # (256, 8): a table, since words have far fewer bytes than bits
    return signs_of_byte[words.contiguous().view(torch.uint8).int()].flatten(-2)[..., :inputs]


def quantize(x: Tensor, activations: Activations) -> tuple[Tensor, Tensor]:
    """Return the whole numbers of x (N, D) as int8 and the scale of each row (N,)."""
    if activations == "int8":
        return int8.quantize(x)
    return 2 * (x >= 0).to(torch.int8) - 1, x.abs().mean(-1)


def forward(x: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None, activations: Activations) -> Tensor:
    """Map x (N, D) by the signs in weight (E, W)."""
    whole, scale = quantize(x.to(torch.promote_types(x.dtype, torch.float32)), activations)
    products = whole.double() @ unpack_signs(weight, x.shape[1]).double().mT
    return int8.rescale(products, scale, weight_scale, bias)
