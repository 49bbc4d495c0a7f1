"""Every mixer of the core keeps every promise of the contract; a test for each pair."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from omniform.errors import IncompatibleError
from omniform.layout import AxisKind
from omniform.mixers.adapt import adapt
from omniform.mixers.base import Mixer, State, Traits
from omniform.mixers.gla import GatedLinearAttention
from omniform.specs import System
from omniform.systems import SYSTEMS
from omniform.testing import CHECKS, Check

MIXERS = [system for system in SYSTEMS if system.mixer]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
@pytest.mark.parametrize("system", MIXERS, ids=lambda system: system.id)
def test_contract(system: System, check: Check):
    cls: type[Mixer] = system.code.load()
    if reason := check.reason_to_skip(cls):
        pytest.skip(reason)
    check(cls)


@pytest.mark.parametrize("system", MIXERS, ids=lambda system: system.id)
def test_zoo_says_what_the_class_says(system: System):
    cls: type[Mixer] = system.code.load()
    traits = cls.traits
    assert (cls.name, traits.ranks, traits.causal, traits.stateful, traits.cost) == (
        system.id,
        system.ranks,
        system.causal,
        system.stateful,
        system.cost,
    )


class Lifted(Mixer):
    """A causal sequence mixer, run over grids in four directions and over sequences both ways."""

    name = "lifted"
    traits = Traits(ranks=(1, 2, 3), cost="linear", compiles=False)

    @classmethod
    def make(cls, dim: int, *, grid: tuple[int, ...], axes: tuple[AxisKind, ...], causal: bool) -> Any:
        if causal:
            raise IncompatibleError("lifted has no causal form; choose another mixer")
        return adapt(GatedLinearAttention, dim, grid=grid, axes=axes)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_contract_of_what_is_lifted(check: Check):
    if reason := check.reason_to_skip(Lifted):
        pytest.skip(reason)
    check(Lifted)


@dataclass(frozen=True, eq=False)
class Leaf(State):
    value: Tensor
    absent: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Branch(State):
    leaves: tuple[Leaf, ...]
    own: Leaf


def test_select_reaches_nested_states():
    rows = torch.arange(6.0).view(3, 2)
    state = Branch((Leaf(rows), Leaf(10 * rows, absent=-rows)), Leaf(100 * rows))
    index = torch.tensor([2, 0, 2, 1])
    beams = state.select(index)
    assert torch.equal(beams.leaves[0].value, rows[index])
    assert beams.leaves[0].absent is None
    assert torch.equal(beams.leaves[1].value, 10 * rows[index])
    assert beams.leaves[1].absent is not None
    assert torch.equal(beams.leaves[1].absent, -rows[index])
    assert torch.equal(beams.own.value, 100 * rows[index])
    assert torch.equal(state.own.value, 100 * rows)
