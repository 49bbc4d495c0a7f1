"""Low-rank updates: nothing at first, the paper's formula then, and back again."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toy_language import make_ids, make_language

from omniform.adaptation.lora import LowRank, add_low_rank, merge, unmerge
from omniform.errors import ConfigError


def test_begins_as_the_map_it_stands_for() -> None:
    model, ids = make_language(), make_ids()
    before = model(ids)
    names = add_low_rank(model.backbone, rank=4, alpha=8)
    assert len(names) == 2 * 6
    assert torch.equal(model(ids), before)


@pytest.mark.parametrize("bias", [True, False])
def test_adds_the_scaled_product(bias: bool) -> None:
    update = _randomised(LowRank(nn.Linear(5, 7, bias=bias).double(), rank=3, alpha=2.0))
    x = torch.randn(4, 2, 5, dtype=torch.float64)
    expected = torch.einsum("oi,bli->blo", update.base.weight + 2 / 3 * update.up @ update.down, x)
    expected = expected + (update.base.bias if bias else 0)
    torch.testing.assert_close(update(x), expected)
    torch.testing.assert_close(update.merged()(x), expected)


def test_dropout_touches_the_update_alone() -> None:
    update = _randomised(LowRank(nn.Linear(64, 8), rank=2, alpha=2.0, dropout=0.5)).train()
    x = torch.randn(3, 64)
    assert not torch.equal(update(x), update(x))
    with torch.no_grad():
        update.up.zero_()
    assert torch.equal(update(x), update.base(x))


def test_merging_is_undone_to_the_bit() -> None:
    model, ids = make_language(), make_ids()
    add_low_rank(model.backbone, rank=4, alpha=8)
    for module in model.modules():
        if isinstance(module, LowRank):
            _randomised(module)
    before = model(ids)
    held = merge(model)
    assert not any(isinstance(module, LowRank) for module in model.modules())
    torch.testing.assert_close(model(ids), before, rtol=1e-3, atol=1e-4)
    unmerge(model, held)
    assert torch.equal(model(ids), before)


def test_refuses_updates_of_updates() -> None:
    model = make_language()
    add_low_rank(model.backbone, rank=1, alpha=1)
    with pytest.raises(ConfigError, match="merge them first"):
        add_low_rank(model.backbone, rank=1, alpha=1)


def _randomised(update: LowRank) -> LowRank:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        update.up.copy_(torch.randn(update.up.shape, generator=generator))
    return update
