"""Linear layers whose weights are signs: one that is trained, and what it is packed into.

Shapes: D inputs, E outputs, W words of 64 bits.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.errors import ConfigError
from omniform.linear import replace_linear
from omniform_kernels.binary_linear import binary_linear, pack_signs, unpack_signs
from omniform_kernels.int8_linear import quantize_rows

__all__ = ["BinaryLinear", "BitLinear", "bitnet", "pack_bits"]


class BitLinear(nn.Linear):
    r"""A linear layer that computes with the signs of its weight, and trains what they are the signs of.

    .. math::
        y = \beta \operatorname{sign}(W - \bar W)\, Q(\operatorname{LN}(x)) + b, \qquad \beta = \overline{|W|}

    with LN a layer norm without parameters and Q rounding to 8 bits by the token's largest entry. Gradients go straight
    through sign and rounding. Embeddings and heads are meant to stay in full precision; learning rates are meant to be
    larger than usual.

    Source: Wang et al., BitNet: Scaling 1-bit Transformers for Large Language Models, arXiv 2310.11453 (tokens are
    quantised one by one in training too, where the paper takes a whole tensor's largest entry).
    """

    def forward(self, input: Tensor) -> Tensor:
        x = F.layer_norm(input, (self.in_features,))
        x = x + (_round_trip(x) - x).detach()
        signs, scale = _binarise(self.weight)
        weight = self.weight + (signs * scale - self.weight).detach()
        return F.linear(x, weight, self.bias)  # (..., E)

    def pack(self) -> BinaryLinear:
        """Return the layer for inference, a bit a weight."""
        layer = BinaryLinear(self.in_features, self.out_features, bias=self.bias is not None)
        signs, scale = _binarise(self.weight.detach())
        layer.words, layer.scale = pack_signs(signs), scale.float()
        layer.bias = self.bias
        return layer.train(self.training)


class BinaryLinear(nn.Module):
    """What `BitLinear` computes, from packed signs: the sums are those of 8-bit integers, added or subtracted.

    Gradients flow to the input and the bias; the weight is fixed.
    """

    words: Tensor
    scale: Tensor

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.register_buffer("words", torch.zeros(out_features, -(-in_features // 64), dtype=torch.int64))  # (E, W)
        self.register_buffer("scale", torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    @property
    def weight(self) -> Tensor:
        """The weight that the signs and their scale stand for, (E, D)."""
        return unpack_signs(self.words, self.in_features) * self.scale

    def forward(self, x: Tensor) -> Tensor:
        return binary_linear(F.layer_norm(x, (self.in_features,)), self.words, self.scale, self.bias)  # (..., E)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


def bitnet(linear: nn.Linear) -> BitLinear:
    """Return a layer that trains signs, from the weight of `linear`."""
    layer = BitLinear(linear.in_features, linear.out_features, bias=linear.bias is not None)
    layer.weight, layer.bias = linear.weight, linear.bias
    return layer.train(linear.training)


def pack_bits(model: nn.Module) -> list[str]:
    """Pack every `BitLinear` of `model` in place, for inference, and return their names.

    Raises:
        ConfigError: if there is none.
    """
    if not any(isinstance(module, BitLinear) for module in model.modules()):
        raise ConfigError("pack_bits found no BitLinear: put them in first, with replace_linear(model, bitnet)")
    return replace_linear(
        model, lambda linear: cast("BitLinear", linear).pack(), lambda name, linear: isinstance(linear, BitLinear)
    )


def _binarise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the signs of the weight around its mean, (E, D), and their scale, ()."""
    signs = torch.where(weight >= weight.mean(), 1.0, -1.0).to(weight.dtype)
    return signs, weight.abs().mean()


def _round_trip(x: Tensor) -> Tensor:
    whole, scale = quantize_rows(x)
    return (whole * scale.unsqueeze(-1)).to(x.dtype)
