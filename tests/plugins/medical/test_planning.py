"""Plans of fingerprints that are made up, of the hippocampus, and the way through a file."""

import json
import os
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest

from omniform.errors import ConfigError
from omniform_medical.cohort import Cohort, read_cohort
from omniform_medical.config import PlanConfig, SegmentConfig
from omniform_medical.fingerprint import (
    CaseFingerprint,
    ChannelFingerprint,
    ClassFingerprint,
    Fingerprint,
    Spread,
    fingerprint,
)
from omniform_medical.memory import format_bytes, parse_bytes, training_bytes
from omniform_medical.plan import Plan, halvings
from omniform_medical.planning import plan_cohort, resolve_plan
from omniform_medical.splitting import split_cohort

Grid = tuple[tuple[int, int, int], tuple[float, float, float]]


def made_up(*grids: Grid, hounsfield: tuple[str, ...] = ("",)) -> Fingerprint:
    cases = tuple(
        CaseFingerprint(name=f"{i}", shape=shape, spacing=spacing, volumes=(1.0,))
        for i, (shape, spacing) in enumerate(grids)
    )
    return Fingerprint(
        shape=Spread.of(np.array([case.shape for case in cases])),
        spacing=Spread.of(np.array([case.spacing for case in cases])),
        channels=tuple(
            ChannelFingerprint(name=f"c{i}", mean=80.0, std=50.0, p00_5=-60.0, p99_5=220.0, hounsfield=each)
            for i, each in enumerate(hounsfield)
        ),
        classes=(ClassFingerprint(name="organ", cases=len(cases), share=0.1, volume=None),),
        cases=cases,
    )


CT: Grid = ((512, 512, 200), (0.8, 0.8, 2.0))
THICK: Grid = ((256, 256, 24), (0.7, 0.7, 5.0))


def test_the_hippocampus_has_nnunets_plan() -> None:
    folder = Path(os.environ.get("OMNIFORM_DATA", "absent"), "medical/msd_hippocampus")
    if not folder.is_dir():
        pytest.skip("OMNIFORM_DATA names no folder with medical/msd_hippocampus")
    config = SegmentConfig()
    training = split_cohort(read_cohort(folder, config), config).train
    plan = Plan.of(resolve_plan(training, config))
    assert plan.patch == (40, 56, 40)
    assert plan.strides == ((2, 2, 2),) * 3
    assert plan.spacing == (1.0, 1.0, 1.0)
    assert plan.normalization == ("zscore",)
    assert plan.batch == 4


def test_the_median_spacing_is_the_target() -> None:
    grids: list[Grid] = [((64, 64, 64), (1.0, 1.0, z)) for z in (1.0, 1.5, 2.5)]
    proposal = plan_cohort(made_up(*grids), PlanConfig())
    assert proposal.plan.spacing == (1.0, 1.0, 1.5)
    assert any("the median of the training cases" in reason for reason in proposal.why)


def test_a_coarse_axis_takes_the_tenth_percentile_but_no_less_than_the_others() -> None:
    grids: list[Grid] = [((64, 64, 32), (1.0, 1.2, z)) for z in (2.0, 4.0, 6.0, 6.0, 6.0)]
    assert plan_cohort(made_up(*grids), PlanConfig()).plan.spacing == pytest.approx((1.0, 1.2, 2.8))
    grids = [((64, 64, 32), (1.0, 1.2, z)) for z in (0.5, 0.5, 6.0, 6.0, 6.0)]
    assert plan_cohort(made_up(*grids), PlanConfig()).plan.spacing == pytest.approx((1.0, 1.2, 1.2))


@pytest.mark.parametrize("memory", ["500M", "1G", "4G", "16G"])
@pytest.mark.parametrize("grid", [CT, THICK, ((300, 100, 90), (1.0, 1.0, 1.0))])
def test_patches_shrink_evenly_until_two_fit(grid: Grid, memory: str) -> None:
    given = made_up(grid, grid)
    plan = plan_cohort(given, PlanConfig(memory=memory)).plan
    need = training_bytes(plan.patch, plan.strides, batch=2, channels=1, classes=2)
    assert need <= parse_bytes(memory)
    assert plan.strides == halvings(plan.patch, plan.spacing)[:4]
    divisors = [prod(stride[axis] for stride in plan.strides) for axis in range(3)]
    assert all(size % divisor == 0 for size, divisor in zip(plan.patch, divisors, strict=True))
    shares = [size / whole for size, whole in zip(plan.patch, grid[0], strict=True)]
    if max(shares) < 1:  # it did shrink: no axis is off by more than its step, and nothing was given away
        steps = [divisor / whole for divisor, whole in zip(divisors, grid[0], strict=True)]
        assert max(shares) - min(shares) <= 2 * max(steps)
        assert need > parse_bytes(memory) / 3


def test_the_batch_fills_memory_within_its_bounds() -> None:
    small: list[Grid] = [((32, 32, 32), (1.0, 1.0, 1.0))] * 4000
    batches = {memory: plan_cohort(made_up(*small), PlanConfig(memory=memory)).plan.batch for memory in ("300M", "4G")}
    assert batches["4G"] == 8
    one = training_bytes((32, 32, 32), ((2, 2, 2),) * 3, batch=1, channels=1, classes=2)
    assert batches["300M"] == parse_bytes("300M") // one
    assert 2 < batches["300M"] < 8
    few = plan_cohort(made_up(*small[:60]), PlanConfig()).plan.batch
    assert few == 3  # 5 % of 60 cases
    assert plan_cohort(made_up(*small[:3]), PlanConfig()).plan.batch == 2


@pytest.mark.parametrize(
    ("grid", "dims"),
    [
        (((64, 48, 1), (0.5, 0.5, 1.0)), "2"),
        (((64, 48, 6), (0.5, 0.5, 8.0)), "2"),
        (((64, 48, 6), (0.5, 0.5, 1.0)), "3"),
        (((64, 48, 24), (0.5, 0.5, 8.0)), "3"),
    ],
)
def test_flat_volumes_are_seen_as_planes(grid: Grid, dims: str) -> None:
    proposal = plan_cohort(made_up(grid, grid), PlanConfig())
    assert proposal.config.dims == dims
    assert proposal.plan.rank == int(dims)
    forced = plan_cohort(made_up(grid, grid), PlanConfig(dims="2"))
    assert forced.plan.patch == (64, 48, 1)


def test_normalization_follows_what_the_channels_are() -> None:
    proposal = plan_cohort(made_up(THICK, hounsfield=("name", "values", "")), PlanConfig())
    assert proposal.plan.normalization == ("ct", "ct", "zscore")
    assert proposal.plan.intensities[0].low == -60.0
    assert sum("Hounsfield" in reason for reason in proposal.why) == 1


@pytest.mark.parametrize(
    "asked",
    [
        {"spacing": (1.5, 1.5, 6.0)},
        {"patch": (50, 60, 20)},
        {"patch": (50, 60, 1)},
        {"stages": 2},
        {"stages": 1},
        {"normalization": ("ct",)},
        {"intensities": (0.0, 1.0, 0.5, 0.2)},
        {"batch": 3},
        {"dims": "2"},
    ],
)
def test_what_is_asked_stays_and_the_rest_is_planned(asked: dict) -> None:
    config = PlanConfig(**asked)
    proposal = plan_cohort(made_up(THICK, THICK), config)
    for name, value in asked.items():
        assert getattr(proposal.config, name) == value
    assert sum("as asked" in reason or "as many as asked" in reason for reason in proposal.why) >= len(
        set(asked) - {"intensities"}
    )
    assert plan_cohort(made_up(THICK, THICK), proposal.config).config == proposal.config


def test_a_patch_beyond_the_memory_is_the_askers_choice_and_said() -> None:
    proposal = plan_cohort(made_up(CT, CT), PlanConfig(patch=(256, 256, 128), memory="1G"))
    assert proposal.plan.patch == (256, 256, 128)
    assert any("beyond the 1G" in reason for reason in proposal.why)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"memory": "much"}, "expected --memory such as 4G"),
        ({"memory": "1K"}, "expected --memory for at least a patch of"),
        ({"stages": 9}, "stages for a patch of"),
        ({"dims": "2", "patch": (32, 32, 8)}, "contradicts"),
        ({"patch": (32, 32)}, "three numbers"),
        ({"spacing": (1.0,)}, "three lengths"),
    ],
)
def test_contradictions_are_refused_in_a_line(asked: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        plan_cohort(made_up(THICK, THICK), PlanConfig(**asked))
    assert "\n" not in str(error.value)


def unreadable(channels: int = 1) -> Cohort:
    """A cohort whose files are not there: whoever reads fails."""
    names = tuple(f"c{i}" for i in range(channels))
    return Cohort("nowhere", (), names, ("background", "organ"), (0, 1))


def test_resolving_twice_changes_nothing_and_reads_nothing() -> None:
    proposal = plan_cohort(made_up(CT, THICK), SegmentConfig(model="dtn", batch=2))
    assert resolve_plan(unreadable(), proposal.config) == proposal.config
    assert Plan.of(proposal.config) == proposal.plan
    assert proposal.config.model == "dtn"


def test_a_plan_comes_back_from_its_file(tmp_path) -> None:
    path = tmp_path / "new" / "plan.json"
    proposal = plan_cohort(made_up(CT, THICK, hounsfield=("name", "")), SegmentConfig())
    proposal.write(path)
    got = resolve_plan(unreadable(2), SegmentConfig(plan=path))
    assert got == proposal.config
    assert got.plan is None
    assert [each.name for each in path.parent.iterdir()] == ["plan.json"]
    value = json.loads(path.read_text())
    assert value == json.loads(json.dumps(proposal.as_json()))
    assert all(reason.endswith(".") for reason in value["why"])
    assert f'"patch": {list(proposal.plan.patch)},' in path.read_text()  # on one line


def test_an_edited_file_counts_and_options_overrule_it(tmp_path) -> None:
    path = tmp_path / "plan.json"
    proposal = plan_cohort(made_up(THICK, THICK), PlanConfig())
    value = proposal.as_json()
    value["plan"] |= {"patch": [64, 64, 16], "stages": 3, "batch": 5}
    path.write_text(json.dumps({"plan": value["plan"]}))
    got = resolve_plan(unreadable(), PlanConfig(plan=path, batch=7))
    assert (got.patch, got.stages, got.batch) == ((64, 64, 16), 3, 7)
    assert got.spacing == proposal.plan.spacing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plan: plan.pop("patch"), "'patch' is missing"),
        (lambda plan: plan.update(pach=[1]), "unknown field 'pach'"),
        (lambda plan: plan.update(patch=[64, 64]), "patch"),
        (lambda plan: plan.update(batch="two"), "batch: expected int"),
        (lambda plan: plan.update(stages=9), "stages for a patch of"),
        (lambda plan: plan.clear(), "is missing"),
    ],
)
def test_a_broken_file_is_refused_in_a_line(tmp_path, change, message: str) -> None:
    path = tmp_path / "plan.json"
    value = plan_cohort(made_up(THICK, THICK), PlanConfig()).as_json()
    change(value["plan"])
    path.write_text(json.dumps(value))
    with pytest.raises(ConfigError, match=message) as error:
        resolve_plan(unreadable(), PlanConfig(plan=path))
    assert "\n" not in str(error.value)
    assert "train again" not in str(error.value)


def test_a_file_that_is_none_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="omniform medical plan"):
        resolve_plan(unreadable(), PlanConfig(plan=tmp_path / "absent.json"))
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ConfigError, match="expected an object"):
        resolve_plan(unreadable(), PlanConfig(plan=tmp_path / "list.json"))


def test_a_plan_of_other_channels_is_refused() -> None:
    config = plan_cohort(made_up(THICK, hounsfield=("", "")), PlanConfig()).config
    with pytest.raises(ConfigError, match=r"a plan of 1 channels \(c0\), got one of 2"):
        resolve_plan(unreadable(), config)


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4 * 2**30), ("800M", 800 * 2**20), ("1.5 GiB", 3 * 2**29), ("2kb", 2048), ("7", 7)]
)
def test_memory_is_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size
    assert parse_bytes(format_bytes(size)) == size


@pytest.mark.parametrize("text", ["", "G", "-4G", "4X", "4 G B", "0", "nan", "1e3G"])
def test_memory_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected --memory such as 4G or 800M"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("patch", "strides"),
    [
        ((16, 16, 16), ((2, 2, 2), (2, 2, 2))),
        ((24, 16, 8), ((2, 2, 1), (2, 2, 2))),
    ],
)
def test_the_formula_is_what_torch_keeps_for_a_plain_unet(patch: tuple, strides: tuple) -> None:
    """Counted from the tensors that autograd saves, each storage once, without the weights."""
    import torch
    from torch import nn

    class Level(nn.Sequential):
        def __init__(self, inside: int, outside: int) -> None:
            parts = []
            for width in (inside, outside):
                convolution = nn.Conv3d(width, outside, 3, padding=1)
                parts += [convolution, nn.InstanceNorm3d(outside, affine=True), nn.LeakyReLU()]
            super().__init__(*parts)

    def forward(x: torch.Tensor, widths: list[int]) -> torch.Tensor:
        skips = []
        for level, width in enumerate(widths):
            x = Level(x.shape[1], width)(x)
            if level < len(strides):
                skips.append(x)
                x = nn.Conv3d(width, width, strides[level], strides[level])(x)
        for stride, width, skip in reversed(list(zip(strides, widths, skips, strict=False))):
            x = nn.ConvTranspose3d(x.shape[1], width, stride, stride)(x)
            x = Level(2 * width, width)(torch.cat([x, skip], dim=1))
        return nn.Conv3d(widths[0], 3, 1)(x)

    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(0)
    x = torch.randn(2, 1, *patch)
    held = []  # so that no address is used twice
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (held.append(t), keep(t))[1], lambda t: t):
        logits = forward(x, [32 * 2**level for level in range(len(strides) + 1)])
        loss = nn.functional.cross_entropy(logits, torch.zeros(2, *patch, dtype=torch.long))
    assert loss.isfinite()
    formula = training_bytes(patch, strides, batch=2, channels=1, classes=3)
    assert formula == pytest.approx(sum(kept.values()), rel=0.03)


def test_memory_grows_with_batch_and_voxels() -> None:
    one = training_bytes((32, 32, 32), ((2, 2, 2),), batch=1, channels=1, classes=2)
    assert training_bytes((32, 32, 32), ((2, 2, 2),), batch=3, channels=1, classes=2) == 3 * one
    assert training_bytes((32, 32, 64), ((2, 2, 2),), batch=1, channels=1, classes=2) == 2 * one


def test_an_asked_spacing_changes_the_patch() -> None:
    given = made_up(((100, 100, 100), (1.0, 1.0, 1.0)))
    coarse = plan_cohort(given, PlanConfig(spacing=(2.0, 2.0, 2.0))).plan
    assert coarse.patch == (56, 56, 56)  # 50 voxels, rounded up to whole strides
    assert replace(PlanConfig(), spacing=coarse.spacing).spacing == (2.0, 2.0, 2.0)


def test_planning_on_the_same_cases_gives_the_same_plan(tmp_path) -> None:
    pytest.importorskip("nilearn")
    config = SegmentConfig(folds=3)
    training = split_cohort(read_cohort("sample", config), config).train
    first, second = (plan_cohort(fingerprint(training), config) for _ in range(2))
    assert first == second
