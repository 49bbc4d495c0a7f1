from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from omniform.backbones import Sequence
from omniform.channel import Mlp
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.attention import Attention


class Backbone(nn.Module):
    """Two layers of attention and perceptrons, whose norms make channel 5 as large as `outlier`."""

    def __init__(self, dim: int = 64, outlier: float = 1.0) -> None:
        super().__init__()
        self.body = Sequence(self.layer, dim=dim, depth=2)
        for layer in self.body.layers:
            for branch in layer.branches:
                assert isinstance(branch.norm, nn.LayerNorm)
                with torch.no_grad():
                    branch.norm.weight[5] = outlier

    @staticmethod
    def layer(index: int, dim: int) -> Layer:
        return Layer(Branch(Attention(dim), nn.LayerNorm(dim)), Branch(Mlp(dim, 2 * dim), nn.LayerNorm(dim)))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x, Layout.of(x)).last


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def backbone() -> Callable[..., Backbone]:
    return Backbone


@pytest.fixture
def error() -> Callable[[Tensor, Tensor], float]:
    """Return the root mean square of a difference, over that of what was expected."""
    return lambda actual, expected: float((actual - expected).detach().norm() / expected.detach().norm())
