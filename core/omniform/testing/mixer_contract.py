"""The contract that every mixer keeps, a named check for each promise.

One line tests a mixer; a parametrised test shows each promise by itself:

    @pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
    def test_contract(check):
        if reason := check.reason_to_skip(MyMixer):
            pytest.skip(reason)
        check(MyMixer)

Instances come from `cls.make(...)`, that is with default options. To test other options, test a subclass whose `make`
gives them. Everything runs on a CPU, in float64 unless said otherwise, with parameters moved by seeded noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from omniform.mixers.base import Mixer, Traits
from omniform.testing.expense import check_flops, check_growth, check_parameters
from omniform.testing.learning import check_compilation, check_determinism, check_gradients, check_round_trip
from omniform.testing.order import check_causality, check_circular_axes, check_global_tokens, check_set_axes
from omniform.testing.padding import check_coordinates, check_empty, check_packed, check_padding, check_poison
from omniform.testing.recurrence import check_extend, check_ragged_extend, check_select, check_state_is_immutable
from omniform.testing.shapes import (
    check_batch,
    check_declaration,
    check_device,
    check_dtype,
    check_refusals,
    check_shape,
)

__all__ = ["CHECKS", "Check", "check_mixer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise of the contract.

    Attributes:
        name: the key in `CHECKS`.
        body: raises if the promise is broken; its docstring is the promise.
        applies: whether a mixer of these traits makes the promise.
        otherwise: why there is nothing to check where it does not.
    """

    name: str
    body: Callable[[type[Mixer], int], None]
    applies: Callable[[Traits], bool] = lambda traits: True
    otherwise: str = ""

    def __call__(self, cls: type[Mixer], dim: int = 32) -> None:
        """Check the class at this width; pass silently where the promise is not made.

        Raises:
            AssertionError: the promise is broken, or the mixer crashed.
        """
        if self.reason_to_skip(cls):
            return
        try:
            self.body(cls, dim)
        except Exception as error:
            fault = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            promise = (self.body.__doc__ or "").strip().splitlines()[0].rstrip(".")
            raise AssertionError(f"{cls.name} breaks the check {self.name!r} ({promise}): {fault}") from error

    def reason_to_skip(self, cls: type[Mixer]) -> str:
        """Return why the check does not apply to this class; empty if it does."""
        return "" if self.applies(cls.traits) else self.otherwise


def check_mixer(cls: type[Mixer], *, dim: int = 32) -> None:
    """Run every check that applies to the class, built by `cls.make` for the width `dim`.

    Raises:
        AssertionError: names the first promise that is broken.
    """
    for check in CHECKS.values():
        check(cls, dim)


def _padded(traits: Traits) -> bool:
    return traits.padding == "native" or (traits.padding == "alone" and 1 in traits.ranks)


def _packed(traits: Traits) -> bool:
    return traits.padding != "refused" and 1 in traits.ranks


_CHECKS = (
    Check(name="declaration", body=check_declaration),
    Check(name="shape", body=check_shape),
    Check(name="dtype", body=check_dtype),
    Check(name="device", body=check_device),
    Check(name="batch", body=check_batch),
    Check(name="refusals", body=check_refusals),
    Check(name="padding", body=check_padding, applies=_padded, otherwise="refuses padding"),
    Check(name="poison", body=check_poison, applies=_padded, otherwise="refuses padding"),
    Check(name="empty", body=check_empty, applies=_padded, otherwise="refuses padding"),
    Check(name="packed", body=check_packed, applies=_packed, otherwise="refuses packed sequences"),
    Check(name="coordinates", body=check_coordinates),
    Check(name="causality", body=check_causality, applies=lambda t: 1 in t.ranks, otherwise="not of rank 1"),
    Check(name="set-axes", body=check_set_axes, applies=lambda t: "set" in t.axes, otherwise="takes no set axes"),
    Check(
        name="circular-axes",
        body=check_circular_axes,
        applies=lambda t: "circular" in t.axes,
        otherwise="takes no circular axes",
    ),
    Check(
        name="global-tokens",
        body=check_global_tokens,
        applies=lambda t: t.global_tokens,
        otherwise="takes no global tokens",
    ),
    Check(name="extend", body=check_extend, applies=lambda t: t.stateful, otherwise="has no state"),
    Check(name="ragged-extend", body=check_ragged_extend, applies=lambda t: t.stateful, otherwise="has no state"),
    Check(name="state", body=check_state_is_immutable, applies=lambda t: t.stateful, otherwise="has no state"),
    Check(name="select", body=check_select, applies=lambda t: t.stateful, otherwise="has no state"),
    Check(name="gradients", body=check_gradients),
    Check(name="determinism", body=check_determinism),
    Check(
        name="compilation", body=check_compilation, applies=lambda t: t.compiles, otherwise="does not claim to compile"
    ),
    Check(name="round-trip", body=check_round_trip),
    Check(name="growth", body=check_growth),
    Check(name="parameters", body=check_parameters),
    Check(name="flops", body=check_flops),
)

CHECKS: Mapping[str, Check] = {check.name: check for check in _CHECKS}
"""Every check by name, the plain ones first."""
