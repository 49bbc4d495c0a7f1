"""Weight decay falls on matrices only."""

import torch
from torch import nn

from omniform.training.optimizer import make_optimizer, split_decay


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.norm = nn.LayerNorm([2, 3])
        self.tied = self.linear
        self.scale = nn.Parameter(torch.ones(3))
        self.rates = nn.Parameter(torch.ones(3, 2))
        setattr(self.rates, "_no_weight_decay", True)  # noqa: B010
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)


def test_only_matrices_decay_and_each_parameter_is_taken_once() -> None:
    model = Mixed()
    decay, keep = split_decay(model)
    assert [id(p) for p in decay] == [id(model.linear.weight)]
    wanted = {id(p) for p in (model.linear.bias, model.norm.weight, model.norm.bias, model.scale, model.rates)}
    assert {id(p) for p in keep} == wanted
    assert len(keep) == len(wanted)


def test_groups_carry_their_decay() -> None:
    groups = make_optimizer(Mixed(), learning_rate=0.1, weight_decay=0.3).param_groups
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
