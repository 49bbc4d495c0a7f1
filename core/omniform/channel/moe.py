"""A small mixture of experts.

Shapes: T valid tokens of the batch, E experts, K experts per token.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from omniform.channel.base import Aux, ChannelMixer
from omniform.channel.mlp import Mlp
from omniform.layout import Layout
from omniform.mixers.base import Cost

__all__ = ["MixtureOfExperts"]


class MixtureOfExperts(ChannelMixer):
    """Send each token to its `top_k` best of `num_experts` perceptrons.

    With router probabilities `p = softmax(W x)`, the output is `sum_{e in top K} p_e / sum_top p * expert_e(x)`. No
    token is dropped. The auxiliary loss `balance = E * sum_e f_e P_e` (arXiv 2101.03961, equation 4), with `f_e` the
    share of assignments and `P_e` the mean probability of expert `e` over valid tokens, is one when the load is even.

    Source: sparsely gated experts, arXiv 1701.06538; normalised top-k weights as in Mixtral, arXiv 2401.04088.
    """

    def __init__(self, dim: int, hidden: int, *, num_experts: int = 4, top_k: int = 2) -> None:
        super().__init__(dim, hidden)
        self.top_k = top_k
        self.router = nn.Linear(dim, num_experts, bias=False)
        self.experts = nn.ModuleList(Mlp(dim, hidden) for _ in range(num_experts))

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        return self.forward_with_aux(x, layout)[0]

    def forward_with_aux(self, x: Tensor, layout: Layout) -> tuple[Tensor, Aux]:
        """Return the mixed tokens and `{"balance": scalar}`."""
        valid = layout.valid(x.shape[0], x.device)  # (B, *grid)
        tokens = x[valid]  # (T, D)
        probabilities = self.router(tokens).softmax(dim=-1)  # (T, E)
        weights, chosen = probabilities.topk(self.top_k, dim=-1)  # (T, K)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        mixed = torch.zeros_like(tokens)
        for index, expert in enumerate(self.experts):
            token, slot = (chosen == index).nonzero(as_tuple=True)
            contribution = expert(tokens[token], layout) * weights[token, slot, None]
            mixed = mixed.index_add(0, token, contribution.to(mixed.dtype))
        share = torch.zeros_like(probabilities[0]).index_add(
            0, chosen.flatten(), torch.ones_like(chosen.flatten(), dtype=probabilities.dtype)
        ) / max(chosen.numel(), 1)
        balance = len(self.experts) * (share * probabilities.mean(dim=0)).sum()
        return torch.zeros_like(x).masked_scatter(valid[..., None], mixed), {"balance": balance}

    def cost(self, grid: tuple[int, ...]) -> Cost:
        hidden = 2 * self.dim * self.hidden
        expert = Cost(parameters=hidden + self.hidden + self.dim, flops=2 * hidden * prod(grid))
        router = self.dim * len(self.experts)
        return Cost(
            parameters=router + len(self.experts) * expert.parameters,
            flops=2 * router * prod(grid) + self.top_k * expert.flops,
        )
