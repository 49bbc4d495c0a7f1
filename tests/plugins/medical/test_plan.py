"""The plan that a config holds, and how often a patch is halved."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniform.errors import ConfigError
from omniform_medical.config import PlanConfig
from omniform_medical.plan import Intensity, Plan, halvings

RESOLVED = PlanConfig(
    dims="3",
    spacing=(1.0, 1.0, 3.0),
    patch=(40, 33, 12),
    stages=3,
    normalization=("ct", "zscore"),
    intensities=(-900.0, 400.0, 80.0, 120.0, 0.0, 9.0, 4.0, 2.0),
    batch=2,
)


def test_the_plan_of_a_config() -> None:
    plan = Plan.of(RESOLVED)
    assert plan == Plan(
        spacing=(1.0, 1.0, 3.0),
        patch=(40, 33, 12),
        strides=((2, 2, 1), (2, 2, 2)),
        normalization=("ct", "zscore"),
        intensities=(
            Intensity(low=-900.0, high=400.0, mean=80.0, std=120.0),
            Intensity(low=0.0, high=9.0, mean=4.0, std=2.0),
        ),
        batch=2,
    )
    assert plan.rank == 3
    assert hash(plan) == hash(Plan.of(RESOLVED))


def test_a_plan_of_planes() -> None:
    plan = Plan.of(replace(RESOLVED, dims="2", patch=(32, 64, 1), stages=4))
    assert plan.rank == 2
    assert plan.strides == ((2, 2, 1),) * 3


@pytest.mark.parametrize(
    ("patch", "spacing", "strides"),
    [
        ((40, 56, 40), (1.0, 1.0, 1.0), ((2, 2, 2),) * 3),  # nnU-Net's hippocampus
        ((64, 64, 16), (1.0, 1.0, 5.0), ((2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2))),
        ((64, 64, 16), (1.0, 1.0, 2.0), ((2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 1))),
        ((8, 7, 9), (1.0, 1.0, 1.0), ((2, 1, 2),)),
        ((64, 8, 8), (4.0, 1.0, 1.0), ((1, 2, 2), (2, 1, 1), (2, 1, 1), (2, 1, 1), (2, 1, 1))),
        ((7, 7, 7), (1.0, 1.0, 1.0), ()),
        ((64, 64, 1), (1.0, 1.0, 1.0), ((2, 2, 1),) * 4),
    ],
)
def test_halvings(patch: tuple[int, int, int], spacing: tuple[float, float, float], strides: tuple) -> None:
    assert halvings(patch, spacing) == strides


@given(
    st.tuples(*[st.integers(1, 200)] * 3),
    st.tuples(*[st.floats(0.2, 10.0)] * 3),
)
def test_every_halving_leaves_four_voxels_and_lets_coarse_axes_wait(
    patch: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    size, length = list(patch), list(spacing)
    for stride in halvings(patch, spacing):
        assert 2 in stride
        halved = [axis for axis in range(3) if stride[axis] == 2]
        able = [axis for axis in range(3) if size[axis] >= 8]
        assert set(halved) <= set(able)
        waiting = [axis for axis in able if axis not in halved]
        finest = min(length[axis] for axis in able)
        assert all(length[axis] >= 2 * finest for axis in waiting)
        assert all(length[axis] < 2 * finest for axis in halved)
        size = [-(-n // step) for n, step in zip(size, stride, strict=True)]
        length = [side * step for side, step in zip(length, stride, strict=True)]
        assert all(size[axis] >= 4 for axis in halved)
    assert all(n < 8 for n in size)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spacing": ()}, "lacks spacing"),
        ({"spacing": (1.0, 1.0)}, "three lengths"),
        ({"spacing": (1.0, 1.0, 0.0)}, "three lengths"),
        ({"spacing": (1.0, 1.0, float("nan"))}, "three lengths"),
        ({"patch": (32, 32)}, "three numbers of voxels"),
        ({"patch": (32, 0, 32)}, "three numbers of voxels"),
        ({"patch": (32, 32, 1)}, "--dims 3 contradicts a patch of 32x32x1"),
        ({"dims": "2"}, "--dims 2 contradicts a patch of 40x33x12"),
        ({"stages": 9}, "from 1 to 4 stages for a patch of 40x33x12, got 9"),
        ({"stages": -1}, "from 1 to 4 stages"),
        ({"normalization": ("ct", "minmax")}, "zscore or ct"),
        ({"normalization": ("ct",)}, "4 numbers, got 8"),
        ({"intensities": (1.0, 0.0, 0.0, 1.0) * 2}, "low <= high"),
        ({"intensities": (0.0, 1.0, 0.0, 0.0) * 2}, "std > 0"),
        ({"batch": -2}, "at least one patch"),
    ],
)
def test_what_makes_no_plan_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Plan.of(replace(RESOLVED, **changes))
