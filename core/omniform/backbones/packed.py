"""A sequence backbone that computes nothing for padding.

Shapes: B sequences, L tokens with padding, T valid tokens of the batch, D width.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from omniform.backbones.features import Features
from omniform.backbones.sequence import Sequence
from omniform.errors import IncompatibleError
from omniform.layout import Layout, pack
from omniform.mixers.base import Cost

__all__ = ["Packed", "remove_padding", "restore_padding"]


class Packed(nn.Module):
    """Run a backbone on valid tokens alone: packed once before its layers, put back once behind them.

    Norms and projections then do `T / (B L)` of the work on padded tokens, and attention sees each sequence where it
    lies. On valid tokens the output is that of the backbone; on padded ones it is zero.

    Args:
        backbone: layers whose mixers take padding. Their dropout draws other numbers than on padded tokens.

    Source: Zhai et al., ByteTransformer, arXiv 2210.03052.
    """

    def __init__(self, backbone: Sequence) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor, layout: Layout, *, cond: Tensor | None = None) -> Features:
        """Run tokens `(B, L, D)`, conditioned by `(B, C)` or `(B, L, C)`.

        Raises:
            IncompatibleError: for grids of higher rank and for global tokens, which cannot be packed.
        """
        layout.check(x)
        if layout.rank != 1 or layout.num_global:
            raise IncompatibleError(
                "expected sequences without global tokens, "
                f"got the grid {layout.grid} with {layout.num_global} of them: run the backbone unpacked"
            )
        if layout.mask is None:
            return self.backbone(x, layout, cond=cond)
        packed, inner = remove_padding(x, layout)
        if cond is not None:
            cond = cond[:, None].expand(-1, x.shape[1], -1) if cond.ndim == 2 else cond
            cond = pack(cond, layout.mask)  # (1, T, C)
        features = self.backbone(packed, inner, cond=cond)
        return Features((restore_padding(features.last, layout.mask),), (layout,), features.aux)

    def cost(self, grid: tuple[int, ...]) -> Cost:
        """Return the cost of one sequence without padding, by formula."""
        return self.backbone.cost(grid)


def remove_padding(x: Tensor, layout: Layout) -> tuple[Tensor, Layout]:
    """Pack the valid tokens of `(B, L, D)` as `(1, T, D)`; `layout` has a mask, with padding on any side."""
    mask = layout.mask
    assert mask is not None, "without a mask there is nothing to remove"
    packed = pack(x, mask)
    inner = Layout(
        tuple(packed.shape[1:-1]),
        layout.axes,
        offsets=F.pad(mask.sum(1).cumsum(0), (1, 0)),
        coords=None if layout.coords is None else pack(layout.coords.expand(len(mask), -1, -1), mask),
    )
    return packed, inner


def restore_padding(x: Tensor, mask: Tensor) -> Tensor:
    """Put packed tokens `(1, T, D)` back where a mask `(B, L)` is true; zeros elsewhere."""
    return x.new_zeros(*mask.shape, x.shape[-1]).masked_scatter(mask[..., None], x)
