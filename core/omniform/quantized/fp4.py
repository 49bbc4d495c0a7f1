r"""Linear layers of 4-bit floating-point weights, with activations in 4 or 8 bits.

Shapes: N tokens, D inputs, E outputs.

An exponent bias that may be any real number is a scale: the layers search for scales. Channels of the activations that
differ in size get a whole exponent :math:`e_i` each, which the weight takes over:
:math:`\sum_i w_{oi} x_i = \sum_i (2^{e_i} w_{oi}) (2^{-e_i} x_i)`, exactly, as powers of two do not round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.errors import ConfigError
from omniform_kernels.block_linear import (
    FORMATS,
    Format,
    block_linear,
    dequantize_blocks,
    largest,
    nearest,
    quantize_blocks,
)

__all__ = ["ActivationFormat", "FP4Linear", "llm_fp4"]

ActivationFormat = Literal["e1m2", "e2m1", "e3m0", "e4m3", "e5m2"]

_WEIGHT_FORMATS: tuple[Format, ...] = ("e1m2", "e2m1", "e3m0")
_ACTIVATION_FORMATS: tuple[ActivationFormat, ...] = get_args(ActivationFormat)
_BYTES = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
_RATIOS = torch.linspace(0.3, 1.2, 31).tolist()  # of the full range; the paper's grid goes from 0.01
_BINADES = (0, 3, 7)  # by which the exponents of channels may differ: what tokens gain, weights of one scale may lose
_UNIT = 32  # inputs are padded to a multiple of it


class FP4Linear(nn.Module):
    """A linear layer whose weight takes 4 bits an entry, on tokens that are rounded to few bits or left alone.

    Gradients flow to the input and the bias (straight through the rounding); the weight is fixed.

    Args:
        in_features, out_features: D and E.
        bias: whether there is one.
        block_size: inputs that share a scale, a multiple of 32; None for one scale an output.
        weight_format: floating formats, or "int4" for whole numbers.
        activation_format: of the tokens; None to leave them as they are.

    Source: Liu et al., LLM-FP4: 4-Bit Floating-Point Quantized Transformers, arXiv 2310.16836.
    """

    weight_format: Format
    activation_format: ActivationFormat | None
    packed: Tensor
    scales: Tensor
    exponents: Tensor
    activation_scale: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        block_size: int | None = None,
        weight_format: Format = "e2m1",
        activation_format: ActivationFormat | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight_format, self.activation_format = weight_format, activation_format
        size = -(-in_features // _UNIT) * _UNIT if block_size is None else block_size
        blocks = -(-in_features // size)
        self.register_buffer("packed", torch.zeros(out_features, blocks * size // 2, dtype=torch.uint8))
        self.register_buffer("scales", torch.ones(out_features, blocks))
        self.register_buffer("exponents", torch.zeros(in_features, dtype=torch.int8))  # (D,), e
        self.register_buffer("activation_scale", torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    @property
    def weight(self) -> Tensor:
        """The weight that the codes stand for, (E, D)."""
        shifted = dequantize_blocks(self.packed, self.scales, self.weight_format, self.in_features)
        return shifted / _powers(self.exponents)

    def forward(self, x: Tensor) -> Tensor:
        x = x / _powers(self.exponents).to(x.dtype)
        if self.activation_format is not None:
            x = x + (_round(x, self.activation_scale.to(x.dtype), self.activation_format) - x).detach()
        return block_linear(x, self.packed, self.scales, self.bias, format=self.weight_format)  # (..., E)

    def get_extra_state(self) -> Tensor:
        """Return the formats, which a search may have chosen, as numbers that fit a file of tensors."""
        activation = -1 if self.activation_format is None else _ACTIVATION_FORMATS.index(self.activation_format)
        return torch.tensor([FORMATS.index(self.weight_format), activation])

    def set_extra_state(self, state: Tensor) -> None:
        weight, activation = state.tolist()
        self.weight_format = FORMATS[weight]
        self.activation_format = None if activation < 0 else _ACTIVATION_FORMATS[activation]

    def extra_repr(self) -> str:
        formats = f"weight_format={self.weight_format}, activation_format={self.activation_format}"
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, {formats}"


def llm_fp4(
    linear: nn.Linear,
    inputs: Tensor | None = None,
    *,
    block_size: int | None = None,
    weight_formats: Sequence[Format] = _WEIGHT_FORMATS,
    activation_formats: Sequence[ActivationFormat] = (),
) -> FP4Linear:
    """Return the layer in 4 bits, of the formats and scales that change its outputs least.

    Scales of the weight minimise the error of each block, inputs weighted by their mean square; formats, exponents, and
    the scale of the activations minimise the error of the outputs. (The paper alternates between searches of both
    scales by the error of the outputs.)

    Args:
        linear: the layer.
        inputs: what it sees, (N, D), as `record_inputs` collects it; None searches by the weight alone.
        block_size: inputs that share a scale; None for one scale an output, as in the paper.
        weight_formats: to choose from.
        activation_formats: to choose from: 4-bit ones, or "e4m3" and "e5m2" of 8 bits; none to leave tokens alone.

    Raises:
        ConfigError: activations are to be rounded, but there are no inputs; or these do not fit the layer.
    """
    if inputs is None and activation_formats:
        raise ConfigError("the range of activations is found from inputs: pass those of record_inputs, got none")
    if inputs is not None and (inputs.ndim != 2 or inputs.shape[1] != linear.in_features or len(inputs) == 0):
        raise ConfigError(f"expected inputs of shape (N, {linear.in_features}), N >= 1; got {tuple(inputs.shape)}")
    x = torch.eye(linear.in_features, device=linear.weight.device) if inputs is None else inputs.float()
    spreads = _BINADES if activation_formats else (0,)
    candidates = [
        _fit(linear, x, _channel_exponents(x, binades), block_size, weight_formats, activation_formats)
        for binades in spreads
    ]
    return min(candidates, key=lambda candidate: candidate[0])[1]


def _fit(
    linear: nn.Linear,
    x: Tensor,
    exponents: Tensor,
    block_size: int | None,
    weight_formats: Sequence[Format],
    activation_formats: Sequence[ActivationFormat],
) -> tuple[float, FP4Linear]:
    """Return the mean squared error of the outputs, and the layer, for these exponents of the channels."""
    layer = FP4Linear(linear.in_features, linear.out_features, bias=linear.bias is not None, block_size=block_size)
    layer.bias, layer.exponents = linear.bias, exponents
    weight = linear.weight.detach().float() * _powers(exponents)
    x = x / _powers(exponents)
    error = _fit_weight(layer, weight, x, block_size, weight_formats)
    if activation_formats:
        error = _fit_activations(layer, weight, x, activation_formats)
    return error, layer.train(linear.training)


def _fit_weight(
    layer: FP4Linear, weight: Tensor, x: Tensor, block_size: int | None, formats: Sequence[Format]
) -> float:
    importance, least = x.square().mean(0), torch.inf
    for format in formats:
        packed, scales = quantize_blocks(weight, format, block_size, ratios=_RATIOS, importance=importance)
        error = float(F.linear(x, dequantize_blocks(packed, scales, format, x.shape[1]) - weight).square().mean())
        if error < least:
            least, layer.weight_format, layer.packed, layer.scales = error, format, packed, scales
    return least


def _fit_activations(layer: FP4Linear, weight: Tensor, x: Tensor, formats: Sequence[ActivationFormat]) -> float:
    quantised = dequantize_blocks(layer.packed, layer.scales, layer.weight_format, x.shape[1])
    expected, least = F.linear(x, weight), torch.inf
    full = x.abs().amax().clamp(min=1e-30)
    for format in formats:
        for ratio in _RATIOS:
            scale = full * ratio / _largest(format)
            error = float((F.linear(_round(x, scale, format), quantised) - expected).square().mean())
            if error < least:
                least, layer.activation_format, layer.activation_scale = error, format, scale
    return least


def _channel_exponents(inputs: Tensor, binades: int) -> Tensor:
    """Return by how many binades each channel (D,) stays below the largest, as a number from -binades to 0."""
    size = inputs.abs().amax(0)
    return torch.log2(size / size.max().clamp(min=1e-30)).round().clamp(-binades, 0).to(torch.int8)


def _powers(exponents: Tensor) -> Tensor:
    return torch.ldexp(torch.ones_like(exponents, dtype=torch.float32), exponents.int())


def _largest(format: ActivationFormat) -> float:
    return torch.finfo(_BYTES[format]).max if format in _BYTES else largest(cast("Format", format))


def _round(x: Tensor, scale: Tensor, format: ActivationFormat) -> Tensor:
    """Return the numbers of the format, times the scale, that are nearest to x; beyond the largest, the largest."""
    if format not in _BYTES:
        return nearest(x / scale, cast("Format", format)) * scale
    limit = _largest(format)
    return (x / scale).clamp(-limit, limit).to(_BYTES[format]).to(x.dtype) * scale
