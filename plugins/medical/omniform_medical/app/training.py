"""The tab that trains one network beside the floors, and shows what all of them say of the test cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from omniform.trial import Trial
from omniform.workbench import Picture, Workbench, render, show_pictures
from omniform_medical.app.data import DataSet
from omniform_medical.app.looking import choose_case
from omniform_medical.app.scene import Scene, make_scene
from omniform_medical.app.viewer import viewer
from omniform_medical.config import SegmentConfig
from omniform_medical.planning import Proposal
from omniform_medical.task import Segment

__all__ = ["training"]

_FIELDS = ("model", "loss", "augment", "mirror")
_PARAMS = 150_000


@dataclass(frozen=True, slots=True, eq=False)
class _Trained:
    """A training, and pictures of its test cases."""

    trial: Trial
    pictures: Sequence[Picture]


def training(bench: Workbench, data: DataSet, plan: Proposal[SegmentConfig]) -> Trial | None:
    """Train a network; return it for as long as data and options are the same."""
    config = bench.config(SegmentConfig, _FIELDS, plan.config, slot="train")
    mixer, budget, params = bench.effort(slot="train", mixer="linear-attention", params=_PARAMS)
    if config is None:
        return None
    trained = bench.outcome(
        "Train",
        (str(data.source), config, mixer, budget, params),
        lambda: _train(bench, data, config, mixer, budget, params),
        slot="train",
    )
    if trained is None:
        return None
    _show(bench, trained)
    return trained.trial


def _train(bench: Workbench, data: DataSet, config: SegmentConfig, mixer: str, budget: str, params: int) -> _Trained:
    task = Segment()
    trial = bench.train(task, data.cohort, config, mixer=mixer, budget=budget, params=params, source=data.name)
    shown = {name: trial.predictions[name] for name in (mixer, task.floors(trial.config)[0].name)}
    return _Trained(trial, render(task.figures(shown, trial.splits.test, trial.config)))


def _show(bench: Workbench, trained: _Trained) -> None:
    trial = trained.trial
    bench.scores(trial)
    bench.download_run(trial, slot="train")
    st.subheader("The test cases")
    index = choose_case(bench, [case.name for case in trial.splits.test.cases], slot="train")
    viewer(bench, bench.recall("train.scene", (trial, index), lambda: _scene(trial, index)), slot="train")
    with st.expander("Pictures of the test"):
        show_pictures(trained.pictures)


def _scene(trial: Trial, index: int) -> Scene:
    tests = trial.splits.test
    return make_scene(
        tests.cases[index].name, tests.read(index), tests.labels, tests.channels, trial.predictions, index
    )
