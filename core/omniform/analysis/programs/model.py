"""A transformer that can be read as a program once it is trained.

Shapes: B batch, L tokens, V categorical variables, K categories, N numerical variables, C labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.analysis.programs.attention import CategoricalHeads, NumericalHeads
from omniform.analysis.programs.lookup import Lookups
from omniform.analysis.programs.relaxation import Choose, hardest
from omniform.errors import ConfigError

__all__ = ["PADDING", "SCALE", "ProgramConfig", "ProgramLayer", "TransformerProgram"]

PADDING = -1
"""Stands behind a short sequence's tokens, and for a label that is not asked for."""

SCALE = 1000
"""The discretised network's output weights are whole multiples of 1 / SCALE, so that their sums are exact."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgramConfig:
    """The words of a transformer program and its number of modules.

    Attributes:
        tokens: names of the input's tokens.
        labels: names of the output's labels.
        length: tokens of the longest sequence; also the largest number that a numerical variable holds.
        layers: number of layers.
        categorical_heads, numerical_heads, categorical_lookups, numerical_lookups: modules of each layer.
        hidden: of the perceptrons that become lookups.

    Raises:
        ConfigError: when names repeat or are missing, or a number is below what it must be.
    """

    tokens: tuple[str, ...]
    labels: tuple[str, ...]
    length: int
    layers: int = 1
    categorical_heads: int = 2
    numerical_heads: int = 2
    categorical_lookups: int = 1
    numerical_lookups: int = 1
    hidden: int = 64

    def __post_init__(self) -> None:
        for role, names in (("tokens", self.tokens), ("labels", self.labels)):
            if not names or len(set(names)) != len(names):
                raise ConfigError(f"expected {role} with names of their own, got {names!r}; name each once")
        for field, least in (("length", 1), ("layers", 1), ("hidden", 1), *((module, 0) for module in _MODULES)):
            if getattr(self, field) < least:
                raise ConfigError(f"expected {field} of {least} or more, got {getattr(self, field)}")

    @property
    def categories(self) -> int:
        """K: values of every categorical variable, as many as tokens and positions need."""
        return max(len(self.tokens), self.length)


_MODULES = ("categorical_heads", "numerical_heads", "categorical_lookups", "numerical_lookups")


class ProgramLayer(nn.Module):
    """Append what heads write, then what lookups write, which see the heads' variables."""

    def __init__(self, config: ProgramConfig, categorical: int, numerical: int) -> None:
        super().__init__()
        categories, hidden = config.categories, config.hidden
        seen, numbers = categorical + config.categorical_heads, numerical + config.numerical_heads
        self.categorical_heads = CategoricalHeads(
            config.categorical_heads, categorical, categories, longest=config.length
        )
        self.numerical_heads = NumericalHeads(
            config.numerical_heads, categorical, categories, numerical=numerical, largest=config.length
        )
        self.categorical_lookups = Lookups(
            config.categorical_lookups, seen, categories, hidden=hidden, categories=categories
        )
        self.numerical_lookups = Lookups(config.numerical_lookups, numbers, 1, hidden=hidden, categories=categories)

    def forward(self, x: Tensor, numbers: Tensor, valid: Tensor, choose: Choose) -> tuple[Tensor, Tensor]:
        """Return the longer stream, (B, L, V', K) and (B, L, N'), from (B, L, V, K), (B, L, N) and (B, L)."""
        copied = self.categorical_heads(x, valid, choose)
        summed = self.numerical_heads(x, numbers, valid, choose)
        x = torch.cat((x, copied), dim=2)
        numbers = torch.cat((numbers, summed), dim=2)
        looked_up = self.categorical_lookups(x, choose)
        from_numbers = self.numerical_lookups(numbers[..., None], choose)
        return torch.cat((x, looked_up, from_numbers), dim=2), numbers


class TransformerProgram(nn.Module):
    """Label every token by a network whose modules read named variables and write one each.

    The residual stream is the list of variables: tokens and positions as one-hot vectors, the number one, and what
    each module appends. Softly (`Relaxed`) it trains by gradient; hard (`hardest`) it is a program, which `discretise`
    takes out and `to_python` writes down.

    Source: Friedman et al., Learning Transformer Programs, arXiv 2306.01128; tokens are read as they are and numbers
    begin as ones, as in the paper's algorithmic tasks.
    """

    def __init__(self, config: ProgramConfig) -> None:
        super().__init__()
        self.config = config
        categorical, numerical = 2, 1
        layers: list[ProgramLayer] = []
        for _ in range(config.layers):
            layers.append(ProgramLayer(config, categorical, numerical))
            categorical += config.categorical_heads + config.categorical_lookups + config.numerical_lookups
            numerical += config.numerical_heads
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(categorical * config.categories + numerical, len(config.labels), bias=False)

    def forward(self, ids: Tensor, choose: Choose = hardest) -> Tensor:
        """Return the labels' scores, (B, L, C), of ids (B, L) padded on the right with `PADDING`."""
        return self.head(_features(*self.variables(ids, choose)))

    def variables(self, ids: Tensor, choose: Choose = hardest) -> tuple[Tensor, Tensor]:
        """Return all variables after the last layer, categorical (B, L, V, K) and numerical (B, L, N).

        Raises:
            ConfigError: when sequences are longer than the program's.
        """
        length, categories = ids.shape[1], self.config.categories
        if length > self.config.length:
            raise ConfigError(f"expected at most {self.config.length} tokens, got {length}; build it for longer ones")
        valid = ids != PADDING
        tokens = F.one_hot(ids.clamp(min=0), categories)
        positions = torch.eye(length, categories, dtype=torch.long, device=ids.device).expand_as(tokens)
        x = torch.stack((tokens, positions), dim=2).to(self.head.weight.dtype)  # (B, L, 2, K)
        numbers = x.new_ones(*ids.shape, 1)
        for layer in self.layers:
            x, numbers = layer(x, numbers, valid, choose)
        return x, numbers

    def weights(self) -> Tensor:
        """Return the discretised output weights in units of 1 / SCALE: whole numbers, (C, V K + N)."""
        return (self.head.weight.detach().double() * SCALE).round()

    @torch.no_grad()
    def predict(self, ids: Tensor) -> Tensor:
        """Return the discretised network's labels, (B, L), the first of equals; meaningless where ids are padding."""
        features = _features(*self.variables(ids)).double()
        return (features @ self.weights().T).argmax(-1)


def _features(x: Tensor, numbers: Tensor) -> Tensor:
    """Lay variables side by side: (B, L, V K + N)."""
    return torch.cat((x.flatten(2), numbers), dim=2)
