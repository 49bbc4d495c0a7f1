"""Perceptrons over two variables, which become lookup tables.

Shapes: `*` any leading axes, M perceptrons, V variables, W entries of a variable (K categories, or 1 of a number),
J hidden, K categories.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from omniform.analysis.programs.relaxation import Choose

__all__ = ["INPUTS", "Lookups"]

INPUTS = 2
"""Variables that a perceptron reads."""


class Lookups(nn.Module):
    r"""Write a categorical variable that depends on two chosen ones.

    .. math::
        o = \operatorname{choose}\big(U \operatorname{relu}(W [r_1; r_2] + b) + c\big), \qquad
        r_i = \textstyle\sum_v a_{iv} x_v

    Hard, r takes finitely many values and o one category for each.

    Source: Friedman et al., arXiv 2306.01128
    """

    def __init__(self, count: int, variables: int, width: int, *, hidden: int, categories: int) -> None:
        super().__init__()
        self.read = nn.Parameter(torch.randn(count, INPUTS, variables) / sqrt(variables))  # (M, 2, V)
        self.weight_in = nn.Parameter(torch.randn(count, INPUTS * width, hidden) / sqrt(hidden))  # (M, 2W, J)
        self.bias_in = nn.Parameter(torch.zeros(count, hidden))
        self.weight_out = nn.Parameter(torch.randn(count, hidden, categories) / sqrt(categories))  # (M, J, K)
        self.bias_out = nn.Parameter(torch.zeros(count, categories))

    def forward(self, x: Tensor, choose: Choose) -> Tensor:
        """Return what is written, (*, M, K), from variables (*, V, W)."""
        inputs = torch.einsum("miv,...vw->...miw", choose(self.read), x)
        return choose(self.scores(inputs.flatten(-2)))

    def scores(self, inputs: Tensor) -> Tensor:
        """Return the categories' scores, (*, M, K), from what was read, (*, M, 2W).

        Summed in float64: the largest of them must not hang on how rows are batched.
        """
        hidden = F.relu(torch.einsum("...mi,mij->...mj", inputs.double(), self.weight_in.double()) + self.bias_in)
        scores = torch.einsum("...mj,mjk->...mk", hidden, self.weight_out.double()) + self.bias_out
        return scores.to(inputs.dtype)
