"""Cut a series into overlapping patches, and turn encoded patches into a forecast.

Shapes: S series (batch times variates), L lookback, N patches, P patch length, D width, R rank, H horizon.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ForecastHead", "PatchStem", "Patches"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """How a lookback is cut: patches of `length` rows that begin `stride` rows apart."""

    lookback: int
    length: int
    stride: int

    @property
    def count(self) -> int:
        """The number of patches that cover the whole lookback, its last value included."""
        return 1 + -(-(self.lookback - self.length) // self.stride)

    @property
    def missing(self) -> int:
        """The rows that the first patch lacks."""
        return (self.count - 1) * self.stride + self.length - self.lookback


class PatchStem(nn.Module):
    """Embed patches: `(S, L) -> (S, N, D)` (PatchTST, arXiv 2211.14730).

    Where patch and stride do not divide the lookback, its first value is repeated in front, so that the newest values,
    which matter most, lie in a whole patch.
    """

    def __init__(self, patches: Patches, dim: int) -> None:
        super().__init__()
        self.patches = patches
        self.project = nn.Linear(patches.length, dim)

    def forward(self, series: Tensor) -> Tensor:
        padded = F.pad(series[:, None], (self.patches.missing, 0), mode="replicate")[:, 0]
        return self.project(padded.unfold(1, self.patches.length, self.patches.stride))  # (S, N, D)


class ForecastHead(nn.Module):
    """Map encoded patches to a forecast: `(S, N, D) -> (S, H)`.

    The flattening head of PatchTST holds `N D H` weights, more than all mixers together at small sizes. A rank R first
    projects every token to R numbers, which leaves `D R + N R H`.

    Args:
        rank: numbers per token, or `None` for the full head.
    """

    def __init__(self, dim: int, num_tokens: int, horizon: int, *, rank: int | None, dropout: float = 0.0) -> None:
        super().__init__()
        self.reduce = nn.Identity() if rank is None else nn.Linear(dim, rank, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(num_tokens * (rank or dim), horizon)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.project(self.dropout(self.reduce(tokens).flatten(1)))
