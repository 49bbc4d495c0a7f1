"""The tab that tunes the model to a repository, and shows what that brought on its later commits."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import pandas as pd
import streamlit as st

from omniform.adaptation.settings import Adaptation, Method
from omniform.compare import numerals
from omniform.compare.bootstrap import Difference
from omniform.errors import OmniformError, RunError
from omniform.plots import FLOOR, INK, PALETTE, canvas
from omniform.task import Budget, NamedFigure
from omniform.workbench import Picture, Workbench, plain, render, show_pictures
from omniform.workbench.fields import ask_budget
from omniform_codegen.app.models import Model
from omniform_codegen.config import CompleteConfig
from omniform_codegen.history import split_history
from omniform_codegen.language import LanguageModel
from omniform_codegen.personalization import personalize, save_personalization

__all__ = ["personalizing"]

_NEW, _OLD = "tune the model above", "open what was measured before"
_SHARES = "0.7,0.1,0.2"  # the past to train on, the next commits to stop by, later ones to measure on
_GAPS, _VALIDATION, _TEST = 32, 20_000, 60_000
_COLOURS = {"better": PALETTE[0], "worse": FLOOR, "unsure": INK}
_WORDS = {"better": "better", "worse": "worse", "unsure": "not shown to differ"}


@dataclass(frozen=True, slots=True)
class _Row:
    """One metric before and after."""

    metric: str
    before: float
    after: float
    difference: Difference
    units: int
    outcome: str
    lower_is_better: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """What a personalisation brought."""

    verdict: str
    rows: Sequence[_Row]
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True, eq=False)
class _Tuned:
    """A model after its personalisation, what that brought, and the folder of it as a zip file."""

    language: LanguageModel
    measured: _Measured
    archive: bytes


def personalizing(bench: Workbench, model: Model | None) -> LanguageModel | None:
    """Tune a model, or open a record; return the tuned model for as long as the same is asked for."""
    choice = st.radio("Personalisation", [_NEW, _OLD], horizontal=True, key=f"{bench.domain}.personalize.source")
    if choice == _OLD:
        _open(bench)
        return None
    repository = st.text_input(
        "Git repository on this machine", key=f"{bench.domain}.personalize.repository", placeholder="projects/mine"
    ).strip()
    st.caption(
        "The model is tuned to the files as they stood after the first 70 % of the commits, stopped by the next 10 %, "
        "and compared with itself as it was on lines that the last 20 % added."
    )
    columns = st.columns(3)
    method = columns[0].selectbox("Method", get_args(Method), index=1, key=f"{bench.domain}.personalize.method")
    budget = ask_budget(columns[1], "Budget", f"{bench.domain}.personalize.budget", default="30s")
    suffixes = columns[2].text_input("Suffixes", ".py", key=f"{bench.domain}.personalize.suffixes").strip()
    if model is None:
        st.caption("This needs a model: train a small one above, or open one from a folder.")
        return None
    told = bench.outcome(
        "Personalise",
        (model, repository, method, budget, suffixes),
        lambda: _tune(model, repository, method or "adapter", budget, suffixes),
        slot="personalize",
        disabled=not repository,
    )
    if told is None:
        return None
    _show(told.measured)
    st.download_button(
        "Download what was trained", told.archive, "personalization.zip", "application/zip",
        key=f"{bench.domain}.personalize.archive",
    )  # fmt: skip
    st.caption("The tab Write now shows suggestions of the model before and after, side by side.")
    return told.language


def _open(bench: Workbench) -> None:
    """Show a record that `omniform codegen personalize` wrote."""
    path = bench.upload("personalization.json", types=("json",), slot="personalize")
    if path is None:
        st.caption("It lies in the folder that `omniform codegen personalize` wrote.")
        return
    try:
        _show(bench.recall("personalize.record", str(path), lambda: _read(path)))
    except OmniformError as error:
        bench.refuse(error)


def _tune(model: Model, repository: str, method: Method, budget: str, suffixes: str) -> _Tuned:
    config = CompleteConfig(suffixes=suffixes, split=_SHARES)
    with st.spinner("Reading the history"):
        history = split_history(Path(repository).expanduser(), config.shares(), config)
    with st.spinner("Measuring, tuning, and measuring again"):
        told = personalize(
            model.language,
            history,
            settings=Adaptation(method=method),
            budget=Budget.parse(budget),
            gaps=_GAPS,
            validation_bytes=_VALIDATION,
            test_bytes=_TEST,
            progress=False,
        )
        with TemporaryDirectory(prefix="omniform-") as folder:
            out = Path(folder, "personalization")
            record = save_personalization(told, out, base=model.base, fingerprint=history.train.fingerprint())
            return _Tuned(told.language, _measured(record), _zip(out))


def _read(path: Path) -> _Measured:
    try:
        return _measured(json.loads(path.read_bytes()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RunError(f"expected the personalization.json of a folder that personalize wrote, got {path}") from None


def _measured(record: Any) -> _Measured:
    rows = [_row(name, each) for name, each in record["metrics"].items()]
    return _Measured(str(record["verdict"]), rows, render([_figure(rows)]))


def _row(name: str, each: dict[str, Any]) -> _Row:
    low, high = each["interval"] or (None, None)
    change = Difference(value=float(each["difference"]), low=low, high=high)
    words = (str(name), float(each["before"]), float(each["after"]), change, int(each["units"]))
    outcome = each["outcome"]
    if outcome not in _WORDS:
        raise ValueError(outcome)
    return _Row(*words, outcome, bool(each["lower_is_better"]))


def _show(measured: _Measured) -> None:
    st.info(plain(measured.verdict))
    table = pd.DataFrame(
        {
            "": [row.metric.replace("_", " ") for row in measured.rows],
            "before": [numerals.level(row.before) for row in measured.rows],
            "after": [numerals.level(row.after) for row in measured.rows],
            "difference, 95 % interval": [numerals.difference(row.difference) for row in measured.rows],
            "units": [row.units for row in measured.rows],
            "after is": [_WORDS[row.outcome] for row in measured.rows],
        }
    )
    st.dataframe(table, hide_index=True)
    show_pictures(measured.pictures, columns=1)


def _figure(rows: Sequence[_Row]) -> NamedFigure:
    """Draw the difference of each metric with its interval, better to the right."""
    figure, axes = canvas(width=4.2 * len(rows), height=1.6, columns=len(rows))
    for axis, row in zip(axes, rows, strict=True):
        change, colour = row.difference, _COLOURS[row.outcome]
        axis.axvline(0.0, color=INK, linewidth=1.0, linestyle=(0, (5, 3)))
        if change.low is not None and change.high is not None:
            axis.plot([change.low, change.high], [0, 0], color=colour, linewidth=2.5, solid_capstyle="butt")
        axis.plot([change.value], [0], "o", color=colour, markersize=8, markeredgecolor="white")
        axis.set_yticks([])
        axis.margins(x=0.25)
        axis.locator_params(axis="x", nbins=4)
        axis.set_title(row.metric.replace("_", " "))
        axis.set_xlabel("after less before")
        if row.lower_is_better:
            axis.invert_xaxis()
    return NamedFigure(
        "difference",
        "Right of the dashed line is better; bars are 95 % intervals over units: commits, of other files packages.",
        figure,
    )


def _zip(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    return buffer.getvalue()
