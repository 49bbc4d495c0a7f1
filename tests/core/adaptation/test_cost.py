"""The formula of the training cost stands beside what torch counts."""

from __future__ import annotations

from typing import get_args

import pytest
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from toy_language import make_ids, make_language

from omniform.adaptation.cost import adaptation_cost
from omniform.adaptation.selection import begin, trained_tensors
from omniform.adaptation.settings import Adaptation, Method


@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.parametrize("tied", [True, False])
def test_operations_are_those_that_torch_counts(method: Method, tied: bool) -> None:
    model, ids = make_language(tied=tied), make_ids(3, 16)
    settings = Adaptation(method=method, rank=2, prefix_length=2)
    begin(model, settings, start=model.start(make_ids(1, 2)))
    cost = adaptation_cost(model, settings, length=16, sequences=3)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
    assert cost.flops == pytest.approx(counter.get_total_flops(), rel=0.12)


def test_what_is_trained_and_stored() -> None:
    model = make_language()
    begin(model, Adaptation(rank=2))
    cost = adaptation_cost(model, Adaptation(rank=2), length=16, sequences=10)
    kept = trained_tensors(model)
    assert cost.trained == sum(value.numel() for value in kept.values()) == 2 * 2 * (4 * 64 + (32 + 96) + (48 + 32))
    assert cost.stored_bytes == 4 * cost.trained
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    assert cost.flops == 10 * adaptation_cost(model, Adaptation(rank=2), length=16, sequences=1).flops


def test_the_last_layer_is_cheapest() -> None:
    flops = {}
    for method in ("full", "adapter", "last-layer"):
        model = make_language()
        begin(model, Adaptation(method=method))
        flops[method] = adaptation_cost(model, Adaptation(method=method), length=256, sequences=1).flops
    assert flops["last-layer"] < min(flops["full"], flops["adapter"])
