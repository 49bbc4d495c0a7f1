"""The model and the scanner that the tabs work with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from omniform.compare import numerals
from omniform.errors import OmniformError, RunError
from omniform.workbench import Workbench, plain
from omniform_codegen.api import load_language
from omniform_codegen.app.data import DataSet
from omniform_codegen.app.training import Trained, train_small
from omniform_codegen.language import LanguageModel
from omniform_codegen.scanning.api import Judge, RuleScanner, Scanner

__all__ = ["Model", "choose_judge", "choose_model"]

_HERE, _FOLDER = "trained on this page", "a folder on this machine"
_RULES, _RUN = "rules, which need no training", "a trained run of the task scan"
_RULE_SCANNER = RuleScanner()


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A language model.

    Attributes:
        base: where it came from.
        trained: its training, if that was on this page.
    """

    language: LanguageModel
    base: str
    trained: Trained | None = None


def choose_model(bench: Workbench, data: DataSet | None, trained: Trained | None) -> Model | None:
    """Ask for a model: `trained`, a small one that is trained at a click, or one that lies in a folder."""
    choice = st.radio("Model", [_HERE, _FOLDER], horizontal=True, key=f"{bench.domain}.model.source")
    if choice == _FOLDER:
        return _open(bench)
    if trained is None and data is not None:
        trained = train_small(bench, data)
    if trained is None:
        st.caption("Nothing was trained yet. The button takes about a minute; the tab Train has the options.")
        return None
    row = next(row for row in trained.trial.rows if row.role == "contender")
    score = numerals.level(row.metrics["bits_per_byte"]["mean"])
    st.caption(plain(f"{row.name}, {row.params:,} parameters, {row.steps:,} steps: {score} bits per byte of the test."))
    return bench.recall("model.here", trained, lambda: Model(trained.language, "a run of the page", trained))


def choose_judge(bench: Workbench, *, slot: str) -> Judge | None:
    """Ask what tells weak code."""
    choice = st.radio("Scanner", [_RULES, _RUN], horizontal=True, key=f"{bench.domain}.{slot}.judge")
    if choice == _RULES:
        return _RULE_SCANNER
    folder = _ask_folder(bench, slot, "Run folder", "runs/scan")
    try:
        return None if folder is None else bench.recall(f"{slot}.judge", str(folder), lambda: _load_judge(folder))
    except OmniformError as error:
        bench.refuse(error)
        return None


def _open(bench: Workbench) -> Model | None:
    folder = _ask_folder(bench, "model", "Run folder, or a Hugging Face folder", "runs/complete")
    st.caption("A run of `omniform codegen train`, or a checkpoint of Llama, Qwen2, StarCoder2, GPT-NeoX or Mamba.")
    if folder is None:
        return None
    try:
        model = bench.recall("model.folder", str(folder), lambda: _load(folder))
    except OmniformError as error:
        bench.refuse(error)
        return None
    language = model.language
    st.caption(plain(f"{language.name}: {len(language.tokenizer):,} tokens, a context of {language.context:,}."))
    return model


def _ask_folder(bench: Workbench, slot: str, label: str, example: str) -> Path | None:
    text = st.text_input(label, key=f"{bench.domain}.{slot}.folder", placeholder=example).strip()
    return Path(text).expanduser() if text else None


def _load(folder: Path) -> Model:
    _check(folder)
    with st.spinner("Reading the model"):
        return Model(load_language(folder), str(folder))


def _load_judge(folder: Path) -> Scanner:
    _check(folder)
    scanner = Scanner.load(folder)
    scanner.at(b"pass\n")  # weights are read at first use: broken ones are told now
    return scanner


def _check(folder: Path) -> None:
    """Refuse what is no folder: a page fetches nothing from the hub."""
    if not folder.is_dir():
        raise RunError(f"expected a folder on this machine, got {folder}; check the path")
