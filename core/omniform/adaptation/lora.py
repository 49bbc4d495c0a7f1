"""Low-rank updates of linear maps.

Shapes: `*` any leading axes, I inputs, O outputs, r rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.errors import ConfigError
from omniform.linear import replace_linear

__all__ = ["LowRank", "add_low_rank", "merge", "unmerge"]


class LowRank(nn.Module):
    r"""Add a trained update of low rank to a linear map.

    .. math::
        y = W x + b + \frac{\alpha}{r} B A \operatorname{dropout}(x), \qquad A \in \mathbb R^{r \times I},\;
        B \in \mathbb R^{O \times r}

    B starts at zero, so that the map is what it was, to the bit.

    Args:
        base: W and b; they are kept as they are.
        rank: r.
        alpha: :math:`\alpha`.
        dropout: of the update's inputs, in training.

    Source: Hu et al., LoRA, arXiv 2106.09685; A is begun as `nn.Linear`'s weight is.
    """

    def __init__(self, base: nn.Linear, *, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.base = base
        self.alpha = alpha
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Parameter(base.weight.new_empty(rank, base.in_features))  # A
        self.up = nn.Parameter(base.weight.new_zeros(base.out_features, rank))  # B
        nn.init.kaiming_uniform_(self.down, a=5**0.5)
        self.train(base.training)

    @property
    def rank(self) -> int:
        """r."""
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        """The factor of the update."""
        return self.alpha / self.rank

    @property
    def in_features(self) -> int:
        return self.base.in_features

    @property
    def out_features(self) -> int:
        return self.base.out_features

    @property
    def weight(self) -> Tensor:
        """The weight that the map has in effect, (O, I)."""
        return self.base.weight + self.scale * self.up @ self.down

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        update = F.linear(F.linear(self.dropout(x), self.down), self.up)  # (*, O)
        return self.base(x) + self.scale * update

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return a plain linear map of the same effect, with a weight of its own."""
        base = self.base
        linear = nn.Linear(base.in_features, base.out_features, bias=False, device="meta")
        linear.weight = nn.Parameter(self.weight, base.weight.requires_grad)
        linear.bias = base.bias
        return linear.train(self.training)


def add_low_rank(
    model: nn.Module,
    *,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    where: Callable[[str, nn.Linear], bool] = lambda name, linear: True,
) -> list[str]:
    """Give linear maps of `model` an update and return their names.

    Raises:
        ConfigError: if `where` chooses none, or the model has updates already.
    """
    if any(isinstance(module, LowRank) for module in model.modules()):
        raise ConfigError("expected a model without low-rank updates, got one that has some; merge them first")
    return replace_linear(model, lambda linear: LowRank(linear, rank=rank, alpha=alpha, dropout=dropout), where)


def merge(model: nn.Module) -> dict[str, LowRank]:
    """Put plain linear maps in the place of all updates, and return what stood there, for `unmerge`."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, LowRank)}
    for name, module in found.items():
        _put(model, name, module.merged())
    return found


def unmerge(model: nn.Module, updates: Mapping[str, LowRank]) -> None:
    """Put back what `merge` returned; the weights are then those of before, to the bit."""
    for name, module in updates.items():
        _put(model, name, module)


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
