"""8-bit linear layers with outlier columns in floating point.

Shapes: D inputs, E outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omniform_kernels.int8_linear import int8_linear, quantize_rows

__all__ = ["Int8Linear", "llm_int8"]


class Int8Linear(nn.Module):
    """A linear layer whose weight takes a byte an entry, on tokens that are quantised to 8 bits as they come.

    Columns of the input with an entry of at least `threshold` are multiplied in floating point. Gradients flow to the
    input and the bias, so that what lies below can be trained; the weight is fixed.

    Args:
        in_features, out_features: D and E.
        bias: whether there is one.
        threshold: from which magnitude on a column is an outlier; None for no outliers.

    Source: Dettmers et al., LLM.int8(), arXiv 2208.07339 (the outlier columns of the weight are dequantised, as in
    bitsandbytes, instead of kept in 16 bits).
    """

    codes: Tensor
    scale: Tensor

    def __init__(
        self, in_features: int, out_features: int, *, bias: bool = True, threshold: float | None = 6.0
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.threshold = in_features, out_features, threshold
        self.register_buffer("codes", torch.zeros(out_features, in_features, dtype=torch.int8))  # (E, D)
        self.register_buffer("scale", torch.ones(out_features))  # (E,)
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    @property
    def weight(self) -> Tensor:
        """The weight that the codes stand for, (E, D)."""
        return self.codes * self.scale[:, None]

    def forward(self, x: Tensor) -> Tensor:
        return int8_linear(x, self.codes, self.scale, self.bias, threshold=self.threshold)  # (..., E)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, threshold={self.threshold}"


def llm_int8(linear: nn.Linear, *, threshold: float | None = 6.0) -> Int8Linear:
    """Return the layer with its weight in 8 bits, a scale for each output."""
    layer = Int8Linear(linear.in_features, linear.out_features, bias=linear.bias is not None, threshold=threshold)
    layer.codes, layer.scale = quantize_rows(linear.weight.detach())
    layer.bias = linear.bias
    return layer.train(linear.training)
