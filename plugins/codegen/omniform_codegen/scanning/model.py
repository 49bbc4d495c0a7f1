"""The encoder of snippets over any mixer.

Shapes: B batch, L tokens, D width, V rows of the table, K classes, R rules.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from omniform.backbones import Sequence
from omniform.channel import SwiGLU
from omniform.layers import Branch, Layer
from omniform.layout import Layout
from omniform.mixers.adapt import adapt
from omniform.mixers.base import Mixer
from omniform.task import Size

__all__ = ["FIXED_PARTS", "SnippetEncoder"]

_BLIND = 0.3  # share of the snippets in training that are judged by their rules alone
FIXED_PARTS = ("stem", "head")
"""The submodules outside of the mixed layers."""


class SnippetEncoder(nn.Module):
    r"""Say which weakness the statement at the cursor brings.

    .. math::
        x_t = E_{a_t} + E_{b_t} + S_{m_t} + P_t, \qquad h = \operatorname{backbone}(x), \qquad
        z = W\,[\operatorname{mean}_{t: m_t = 1} h_t,\ \max_{t: m_t = 1} h_t] + V r

    for the hashes a, b of a token, the mark m of the last statement, and the rules r that it breaks. Every token sees
    every other one: nothing behind the cursor is there to be seen. In training some tokens lose themselves and keep
    their kin, and some snippets are judged by their rules alone, so that neither is learnt by heart.

    Args:
        context: L.
        buckets: V.
        classes: K.
        alarms: R, how many rules there are to see; 0 for none.
    """

    def __init__(
        self, mixer: type[Mixer], size: Size, *, context: int, buckets: int, classes: int, alarms: int, dropout: float
    ) -> None:
        super().__init__()
        dim = size.dim

        def make_layer(index: int, dim: int) -> Layer:
            return Layer(
                Branch(adapt(mixer, dim, grid=(context,)), nn.RMSNorm(dim), dropout=dropout),
                Branch(SwiGLU(dim, size.hidden), nn.RMSNorm(dim), dropout=dropout),
            )

        self.stem = _Stem(dim, context=context, buckets=buckets, dropout=dropout)
        self.backbone = Sequence(make_layer, dim=dim, depth=size.depth, norm=nn.RMSNorm(dim))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * dim, classes)
        self.rules = nn.Linear(alarms, classes, bias=False) if alarms else None
        if self.rules is not None:
            nn.init.zeros_(self.rules.weight)

    def forward(self, codes: Tensor, alarms: Tensor) -> Tensor:
        """Return logits `(B, K)`; without a statement only the bias and the rules are left.

        Args:
            codes: `(B, L, 3)` of `encode`.
            alarms: `(B, R)`, 1 for each rule that is broken.
        """
        present = codes[..., 0] > 0
        hidden = self.backbone(self.stem(codes), Layout((codes.shape[1],), mask=present)).last  # (B, L, D)
        inside = (present & (codes[..., 2] > 0))[..., None]  # (B, L, 1)
        mean = hidden.masked_fill(~inside, 0).sum(1) / inside.sum(1).clamp(min=1)
        most = hidden.masked_fill(~inside, float("-inf")).amax(1)
        pooled = self.dropout(torch.cat([mean, torch.where(inside.any(1), most, 0.0)], -1))
        if self.rules is None:
            return self.head(pooled)
        if self.training:
            pooled = pooled * (torch.rand(len(pooled), 1, device=pooled.device) >= _BLIND)
        return self.head(pooled) + self.rules(alarms)


class _Stem(nn.Module):
    """Rows of two hashes, of the mark and of the place, added."""

    def __init__(self, dim: int, *, context: int, buckets: int, dropout: float) -> None:
        super().__init__()
        self.token = nn.Embedding(buckets, dim)
        self.mark = nn.Embedding(2, dim)
        self.place = nn.Parameter(torch.zeros(context, dim))
        self.dropout = dropout
        nn.init.normal_(self.token.weight, std=0.5)
        nn.init.normal_(self.mark.weight, std=0.5)

    def forward(self, codes: Tensor) -> Tensor:
        own, kin, mark = codes.unbind(-1)
        if self.training:
            own = own * (torch.rand(own.shape, device=own.device) >= self.dropout)  # row 0: a token that lost itself
        return self.token(own) + self.token(kin) + self.mark(mark) + self.place
