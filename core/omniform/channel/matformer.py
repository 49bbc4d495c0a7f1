"""A gated perceptron that holds smaller ones of itself.

Shapes: B batch, `*grid` token axes, D width, H hidden width, m <= H hidden units in use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from math import prod
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.channel.base import ChannelMixer
from omniform.errors import ConfigError, IncompatibleError
from omniform.layout import Layout
from omniform.mixers.base import Cost
from omniform_kernels.swiglu import swiglu

__all__ = ["MatFormer", "extract", "nested", "sample_granularity"]

_Model = TypeVar("_Model", bound=nn.Module)


class MatFormer(ChannelMixer):
    r"""Map each token through the first m hidden units of a gated perceptron.

    .. math::
        T_i(x) = W_{:, :m_i} \left(\operatorname{silu}(G_{:m_i} x) \odot U_{:m_i} x\right),
        \qquad m_1 < \dots < m_g = H

    Slices of the weights are views: no granularity copies any. Trained at one granularity a step, drawn at random
    (`sample_granularity`), all are good, and so are mixtures over layers that were never trained.

    Args:
        dim: width D.
        hidden: width H.
        shares: m_i / H, increasing up to 1; each m_i is rounded, and at least 1.

    Attributes:
        granularity: which of `shares` is in use, the last at first; `nested` sets it.

    Raises:
        ConfigError: the shares do not increase up to 1.

    Source: arXiv 2310.07707, with the gate of SwiGLU (arXiv 2002.05202).
    """

    def __init__(self, dim: int, hidden: int, *, shares: Sequence[float] = (1 / 8, 1 / 4, 1 / 2, 1.0)) -> None:
        super().__init__(dim, hidden)
        self.shares = tuple(float(share) for share in shares)
        if not self.shares or self.shares != tuple(sorted({*self.shares})) or self.shares[0] <= 0:
            raise ConfigError(f"expected increasing shares above 0, got {list(shares)}")
        if self.shares[-1] != 1:
            raise ConfigError(f"expected the last share to be 1, the whole perceptron; got {list(shares)}")
        self.granularity = len(self.shares) - 1
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.up = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    @property
    def width(self) -> int:
        """The number m of hidden units in use."""
        return max(1, round(self.shares[self.granularity] * self.hidden))

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        if self.width == self.hidden:
            return self.down(swiglu(self.gate(x), self.up(x)))  # (B, *grid, D)
        gate, up, down = self._slices()
        return F.linear(swiglu(F.linear(x, gate), F.linear(x, up)), down)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """All parameters, and the operations of the granularity in use."""
        return Cost(parameters=3 * self.dim * self.hidden, flops=6 * self.dim * self.width * prod(grid))

    @torch.no_grad()
    def cut(self) -> None:
        """Let go of the hidden units that are not in use."""
        for linear, weight in zip((self.gate, self.up, self.down), self._slices(), strict=True):
            linear.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format), weight.requires_grad)
            linear.out_features, linear.in_features = weight.shape
        self.hidden = self.width
        self.shares, self.granularity = (1.0,), 0

    def _slices(self) -> tuple[Tensor, Tensor, Tensor]:
        linears = (self.gate, self.up, self.down)
        if any(type(linear) is not nn.Linear for linear in linears):
            kinds = ", ".join(type(linear).__name__ for linear in linears)
            raise IncompatibleError(f"expected plain linear maps to take slices of, got {kinds}; merge them first")
        m = self.width
        return self.gate.weight[:m], self.up.weight[:m], self.down.weight[:, :m]


@contextmanager
def nested(model: nn.Module, shares: float | Sequence[float]) -> Iterator[None]:
    """Use a share of the hidden units of every `MatFormer` in a model, or one share a layer in their order.

    The setting is kept in the model and restored on leaving: one thread at a time.

    Raises:
        ConfigError: the model has no `MatFormer`, or none with this share.
    """
    layers = _layers(model)
    chosen = _granularities(layers, shares)
    before = [layer.granularity for layer in layers]
    try:
        for layer, granularity in zip(layers, chosen, strict=True):
            layer.granularity = granularity
        yield
    finally:
        for layer, granularity in zip(layers, before, strict=True):
            layer.granularity = granularity


def extract(model: _Model, shares: float | Sequence[float]) -> _Model:
    """Return a copy that keeps only what `nested(model, shares)` uses, a model of its own.

    Raises:
        ConfigError: as `nested`.
    """
    model = deepcopy(model)
    layers = _layers(model)
    for layer, granularity in zip(layers, _granularities(layers, shares), strict=True):
        layer.granularity = granularity
        layer.cut()
    return model


@contextmanager
def sample_granularity(model: nn.Module, generator: torch.Generator | None = None) -> Iterator[float]:
    """Use one of the shares that every `MatFormer` of a model has, all equally likely: the forward pass of a step.

    What it yields is the share. As `nested`, it restores what was set.

    Raises:
        ConfigError: the model has no `MatFormer`.
    """
    shares = _layers(model)[0].shares
    device = "cpu" if generator is None else generator.device
    share = shares[int(torch.randint(len(shares), (), generator=generator, device=device))]
    with nested(model, share):
        yield share


def _layers(model: nn.Module) -> list[MatFormer]:
    layers = [module for module in model.modules() if isinstance(module, MatFormer)]
    if not layers:
        raise ConfigError("expected a model with MatFormer channel mixers, got one without; build it with matformer")
    return layers


def _granularities(layers: Sequence[MatFormer], shares: float | Sequence[float]) -> list[int]:
    each = [float(share) for share in shares] if isinstance(shares, Sequence) else [float(shares)] * len(layers)
    if len(each) != len(layers):
        raise ConfigError(f"expected one share, or one for each of {len(layers)} layers; got {len(each)}")
    for layer, share in zip(layers, each, strict=True):
        if share not in layer.shares:
            offered = ", ".join(f"{one:g}" for one in layer.shares)
            raise ConfigError(f"expected a share among {offered}; got {share:g}")
    return [layer.shares.index(share) for layer, share in zip(layers, each, strict=True)]
