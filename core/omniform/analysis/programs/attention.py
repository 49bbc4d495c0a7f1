"""Attention heads that read chosen variables and match them by a learned predicate.

Shapes: B batch, L tokens, H heads, V categorical variables, K categories, N numerical variables, Q queries (= L).
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.analysis.programs.relaxation import Choose

__all__ = ["CategoricalHeads", "NumericalHeads"]


class _Matching(nn.Module):
    r"""Say how far each key is the one that a query asks for.

    .. math::
        m_{ij} = q_i^\top P k_j, \qquad q = \textstyle\sum_v a_v x_v, \quad k = \sum_v b_v x_v

    with a and b shares of the variables and each row of P shares of the key's categories: hard, P is a function from
    the query's value to the key's value, and m is zero or one.
    """

    def __init__(self, heads: int, variables: int, categories: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(heads, variables) / sqrt(variables))  # (H, V)
        self.key = nn.Parameter(torch.randn(heads, variables) / sqrt(variables))  # (H, V)
        self.predicate = nn.Parameter(torch.randn(heads, categories, categories) / sqrt(categories))  # (H, K, K)

    def forward(self, x: Tensor, valid: Tensor, choose: Choose) -> Tensor:
        query = torch.einsum("hv,blvk->bhlk", choose(self.query), x)
        key = torch.einsum("hv,blvk->bhlk", choose(self.key), x)
        wanted = query @ choose(self.predicate)  # (B, H, Q, K)
        return wanted @ key.mT * valid[:, None, None, :]  # (B, H, Q, L)


class CategoricalHeads(nn.Module):
    r"""Copy a categorical variable from the closest token that matches.

    .. math::
        o_i = \sum_j \operatorname{choose}_j\!\Big(\frac{\log(m_{ij} + d_{ij}) + \beta_{ij}}{\sqrt K}\Big) v_j, \qquad
        d_{ij} = [j = 0] \max\big(0, 1 - \textstyle\sum_l m_{il}\big)

    :math:`\beta` falls with the distance, prefers the left one of two as far, and puts a token itself behind all
    others. Where nothing matches, the token at the beginning is read.

    Args:
        longest: tokens of the longest sequence, which the steps of beta are a share of.

    Source: Friedman et al., arXiv 2306.01128; positions as in its code.
    """

    def __init__(self, heads: int, variables: int, categories: int, *, longest: int) -> None:
        super().__init__()
        self.longest = longest
        self.matching = _Matching(heads, variables, categories)
        self.value = nn.Parameter(torch.randn(heads, variables) / sqrt(variables))  # (H, V)

    def forward(self, x: Tensor, valid: Tensor, choose: Choose) -> Tensor:
        """Return what the heads write, (B, L, H, K), from variables (B, L, V, K) and which tokens are there (B, L)."""
        length, categories = x.shape[1], x.shape[3]
        value = torch.einsum("hv,blvk->bhlk", choose(self.value), x)
        match = self.matching(x, valid, choose)  # (B, H, Q, L)
        missing = F.relu(1 - match.sum(-1, keepdim=True))
        match = match + F.pad(missing, (0, length - 1))
        scores = (match + 1e-20).log() + _closeness(length, self.longest).to(x)
        scores = scores.masked_fill(~valid[:, None, None, :], -1e30)
        return (choose(scores / sqrt(categories)) @ value).transpose(1, 2)


class NumericalHeads(nn.Module):
    r"""Sum a numerical variable over the tokens that match, up to what a variable holds.

    .. math::
        o_i = \min\big(n, \textstyle\sum_j m_{ij} v_j\big)

    Of the variable that is one everywhere this is a count.

    Args:
        largest: n; sums are cut there, so that lookups over them are finite.

    Source: Friedman et al., arXiv 2306.01128, where sums are not cut.
    """

    def __init__(self, heads: int, variables: int, categories: int, *, numerical: int, largest: int) -> None:
        super().__init__()
        self.largest = largest
        self.matching = _Matching(heads, variables, categories)
        self.value = nn.Parameter(torch.randn(heads, numerical) / sqrt(numerical))  # (H, N)

    def forward(self, x: Tensor, numbers: Tensor, valid: Tensor, choose: Choose) -> Tensor:
        """Return the sums, (B, L, H), from variables (B, L, V, K), numbers (B, L, N), which tokens are there (B, L)."""
        value = torch.einsum("hn,bln->bhl", choose(self.value), numbers)
        match = self.matching(x, valid, choose)  # (B, H, Q, L)
        return torch.einsum("bhql,bhl->bqh", match, value).clamp(max=self.largest)


def _closeness(length: int, longest: int) -> Tensor:
    """Return beta (Q, L): 0, -1/2n, -2/2n ... for one to the left, one to the right, two to the left, -2 for itself."""
    offset = torch.arange(length)[None, :] - torch.arange(length)[:, None]  # (Q, L)
    rank = 2 * (offset.abs() - 1) + (offset > 0)
    return torch.where(offset == 0, -2.0, -rank / (2 * longest))
