"""What a family makes of a config, and how its network is filled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from reprlib import repr as shorten

import torch
from torch import nn

from omniform.errors import RunError
from omniform_codegen.checkpoints.origin import Origin
from omniform_codegen.checkpoints.weights import Weights
from omniform_codegen.model import CausalModel

__all__ = ["Blueprint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """A network without memory, and where its parameters come from.

    Attributes:
        model: on the meta device.
        origins: of all its parameters.
        context: how many tokens it was trained to see.
        copies: tensors that may repeat another, as a head repeats the embedding that it is tied to.
        derived: patterns of names of tensors that follow from the config, such as tables of frequencies.
    """

    model: CausalModel
    origins: Mapping[str, Origin]
    context: int
    copies: Mapping[str, str] = field(default_factory=dict)
    derived: tuple[str, ...] = ()

    def check(self, weights: Weights) -> None:
        """Compare names and shapes before any memory is taken.

        Raises:
            RunError: a tensor is missing, has another shape, or is one too many.
        """
        used: set[str] = set()
        for name, parameter in self.model.named_parameters():
            origin = self.origins[name]
            expected = origin.shape(tuple(parameter.shape))
            for theirs in origin.names:
                weights.check(theirs, expected)
            used.update(origin.names)
        for name in sorted(set(weights.shapes) - used - set(self.copies)):
            if not any(re.fullmatch(pattern, name) for pattern in self.derived):
                raise RunError(
                    f"expected no tensor {shorten(name)}: the config declares no place for it; "
                    "config.json and the weights do not belong together, or the checkpoint is of a kind not supported"
                )
        for name, original in self.copies.items():
            if name in weights.shapes:
                _check_copy(weights, name, original)

    def fill(self, weights: Weights, *, dtype: torch.dtype, device: torch.device | str) -> CausalModel:
        """Read the parameters, one at a time, and return the network in evaluation mode."""
        for name, blank in list(self.model.named_parameters()):
            origin = self.origins[name]
            value = torch.empty(blank.shape, dtype=dtype, device=device)
            value.copy_(origin.make(*map(weights.read, origin.names)))
            parameter = nn.Parameter(value)
            vars(parameter).update(vars(blank))  # marks such as those for the optimiser
            module, _, leaf = name.rpartition(".")
            setattr(self.model.get_submodule(module), leaf, parameter)
        return self.model.eval()


def _check_copy(weights: Weights, name: str, original: str) -> None:
    weights.check(name, weights.shapes[original])
    if not torch.equal(weights.read(name), weights.read(original)):
        raise RunError(
            f"expected {name} to repeat {original}, to which config.json ties it, got other values; "
            "if they are meant, set tie_word_embeddings to false in config.json"
        )
