"""Cut a series into overlapping patches, and turn encoded patches into a forecast.

Shapes: S series (batch times variates), L lookback, N patches, P patch length, D width, R rank, H horizon.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ForecastHead", "PatchStem", "num_patches"]


def num_patches(lookback: int, patch: int, stride: int) -> int:
    """Return the number of patches that cover the whole lookback, its last value included."""
    return 1 + -(-(lookback - patch) // stride)


class PatchStem(nn.Module):
    """Embed patches: `(S, L) -> (S, N, D)` (PatchTST, arXiv 2211.14730).

    Where patch and stride do not divide the lookback, its first value is repeated in front, so that the newest values,
    which matter most, lie in a whole patch.
    """

    def __init__(self, lookback: int, dim: int, *, patch: int, stride: int) -> None:
        super().__init__()
        self.patch, self.stride = patch, stride
        self.num_patches = num_patches(lookback, patch, stride)
        self.missing = (self.num_patches - 1) * stride + patch - lookback
        self.project = nn.Linear(patch, dim)

    def forward(self, series: Tensor) -> Tensor:
        padded = F.pad(series[:, None], (self.missing, 0), mode="replicate")[:, 0]
        return self.project(padded.unfold(1, self.patch, self.stride))  # (S, N, D)


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
