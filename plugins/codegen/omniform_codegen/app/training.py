"""The tab that trains one network beside the floors, and shows what all of them write into gaps of held-out files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from omniform.estimator import NetworkPredictor
from omniform.plots import Curve, curves
from omniform.task import NamedFigure
from omniform.trial import Trial
from omniform.workbench import Picture, Workbench, render, show_pictures
from omniform_codegen.api import language_of
from omniform_codegen.app.data import DataSet
from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import Corpus
from omniform_codegen.language import LanguageModel
from omniform_codegen.predictions import Predictions
from omniform_codegen.spans import line_spans
from omniform_codegen.task import Complete

__all__ = ["Trained", "ask_config", "show_training", "train_small", "training"]

_FIELDS = ("vocabulary", "context", "channel")
_MIXER, _BUDGET, _PARAMS = "attention", "30s", 300_000
_EXAMPLES = 8
_BEFORE = 48  # characters in front of a gap


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A training, what it wrote into gaps of the test, and pictures."""

    trial: Trial
    language: LanguageModel
    gaps: pd.DataFrame
    pictures: Sequence[Picture]


def training(bench: Workbench, data: DataSet) -> Trained | None:
    """Train a network; return it for as long as data and options are the same."""
    config = ask_config(bench, data, slot="train")
    mixer, budget, params = bench.effort(slot="train", mixer=_MIXER, params=_PARAMS)
    if config is None:
        return None
    return bench.outcome(
        "Train",
        (data, config, mixer, budget, params),
        lambda: _train(bench, data, config, mixer, budget, params),
        slot="train",
    )


def train_small(bench: Workbench, data: DataSet) -> Trained | None:
    """Train a small network with everything left as it is."""
    return bench.outcome(
        "Train a small model",
        data,
        lambda: _train(bench, data, data.config, _MIXER, _BUDGET, _PARAMS),
        slot="small",
    )


def ask_config(bench: Workbench, data: DataSet, *, slot: str) -> CompleteConfig | None:
    """Ask for the options of a network."""
    fields, last = st.columns([3, 1])
    with last:
        infill = st.slider(
            "Infill", 0.0, 1.0, data.config.infill, 0.1, key=f"{bench.domain}.{slot}.infill",
            help="share of training windows with the middle moved to the end; 0 teaches to continue only",
        )  # fmt: skip
    with fields:
        return bench.config(CompleteConfig, _FIELDS, data.config, slot=slot, fixed={"infill": infill})


def show_training(bench: Workbench, trained: Trained) -> None:
    """Show scores beside the floors, gaps that were filled, and curves."""
    bench.scores(trained.trial)
    bench.download_run(trained.trial, slot="train")
    st.subheader("Ends of lines in held-out files")
    st.dataframe(trained.gaps, hide_index=True)
    show_pictures(trained.pictures)


def _train(bench: Workbench, data: DataSet, config: CompleteConfig, mixer: str, budget: str, params: int) -> Trained:
    task = Complete()
    trial = bench.train(task, data.corpus, config, mixer=mixer, budget=budget, params=params, source=data.name)
    figures = [*_curve(trial, mixer), *task.figures(trial.predictions, trial.splits.test, trial.config)]
    gaps = _fill(trial.predictions, trial.splits.test)
    return Trained(trial, _language(trial, mixer), gaps, render(figures))


def _language(trial: Trial, mixer: str) -> LanguageModel:
    predictor, config = trial.predictors[mixer], trial.config
    assert isinstance(predictor, NetworkPredictor)
    return language_of(predictor.model.eval(), config, mixer)


def _fill(predictions: Mapping[str, Predictions], items: Corpus) -> pd.DataFrame:
    """Return what each predictor writes from a cursor to the end of its line."""
    spans = line_spans(items, count=_EXAMPLES, seed=0)
    files = [items.files[span.place] for span in spans]
    columns = {
        "file": [file.path for file in files],
        "before": [_shown(file.content[: span.start])[-_BEFORE:] for file, span in zip(files, spans, strict=True)],
        "truth": [_shown(file.content[span.start : span.stop]) for file, span in zip(files, spans, strict=True)],
    }
    told = {name: [_shown(text) for text in each.complete(items, spans)] for name, each in predictions.items()}
    return pd.DataFrame(columns | told)


def _shown(text: bytes) -> str:
    """Return the last line of a text."""
    return text.rpartition(b"\n")[2].decode(errors="replace")


def _curve(trial: Trial, mixer: str) -> Iterator[NamedFigure]:
    """Draw the validation score during training."""
    predictor = trial.predictors[mixer]
    fit = predictor.fit if isinstance(predictor, NetworkPredictor) else None
    points = [] if fit is None else [record for record in fit.history if record.validation is not None]
    if points:
        line = Curve(mixer, [record.step for record in points], [record.validation or 0.0 for record in points])
        figure = curves([line], xlabel="step", ylabel="bits per byte of validation files")
        yield NamedFigure("curves", "Validation during training; the weights of the best moment are kept.", figure)
