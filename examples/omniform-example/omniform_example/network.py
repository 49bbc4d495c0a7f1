"""The network of the task, and what the shared trainer needs to know of it.

Shapes: B batch, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from omniform.backbones.sequence import Sequence
from omniform.channel.mlp import Mlp
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.plugins import find_mixer
from omniform.task import Losses, Network, Size

__all__ = ["Bits", "RecallNetwork", "describe_network"]


class Bits(Dataset[Tensor]):
    """One sequence `(L,)` an item."""

    def __init__(self, bits: np.ndarray) -> None:
        self.bits = torch.from_numpy(bits)

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, index: int) -> Tensor:
        return self.bits[index]


class RecallNetwork(nn.Module):
    """Embed bits, mix them, and give a logit for each: `(B, L) -> (B, L)`."""

    def __init__(self, size: Size, mixer: str, length: int) -> None:
        super().__init__()

        def make_layer(index: int, dim: int) -> Layer:
            mix = adapt(find_mixer(mixer), dim, grid=(length,))
            return Layer(Branch(mix, nn.LayerNorm(dim)), Branch(Mlp(dim, size.hidden), nn.LayerNorm(dim)))

        self.stem = nn.Embedding(2, size.dim)
        self.place = nn.Embedding(length, size.dim)
        self.trunk = Sequence(make_layer, dim=size.dim, depth=size.depth)
        self.head = nn.Linear(size.dim, 1)

    def forward(self, bits: Tensor) -> Tensor:
        x = self.stem(bits) + self.place.weight  # (B, L, D)
        return self.head(self.trunk(x, Layout.of(x)).last)[..., 0]  # (B, L)


def describe_network(mixer: str, length: int, delay: int) -> Network:
    """Tell the shared trainer how to build, train and read the network."""

    def objective(model: nn.Module, batch: Tensor, *, generator: Generator) -> Losses:
        logits = model(batch)[:, delay:]
        return Losses(F.binary_cross_entropy_with_logits(logits, batch[:, :-delay].to(logits)))

    def decode(model: nn.Module, batch: Tensor) -> Tensor:
        return (model(batch) > 0).long()

    def assemble(batches: Many[Any], items: np.ndarray) -> np.ndarray:
        return torch.cat(list(batches)).numpy()

    return Network(
        build=lambda size: RecallNetwork(size, mixer, length),
        objective=objective,
        dataset=lambda items, train: Bits(items),
        decode=decode,
        assemble=assemble,
        fixed=("stem", "place", "head"),
    )
