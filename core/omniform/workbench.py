"""The widgets that every domain's page is made of: data in, options, a comparison with its progress, results out.

Needs streamlit; only pages import this module. It stands in the core, below the plugins that use it and the hub that
hosts them.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import streamlit as st

from omniform.compare import CompareResult, Progress, compare
from omniform.errors import OmniformError
from omniform.plugins import host
from omniform.task import Budget, Task
from omniform.training.config import Training

__all__ = ["Workbench"]

ConfigT = TypeVar("ConfigT")

_BUDGETS = ("100", "300", "1000", "30s", "1m", "2m", "5m")
_PLACES = {"leaderboard": 0, "curves": 2, "trade-off": 2}  # a task's own figures stand between them


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """One domain's page, from top to bottom."""

    domain: str

    def source(self, *, types: Sequence[str], sample: str) -> str | Path | None:
        """Ask for an upload or the embedded sample; return what `Task.read` takes, or `None` while nothing is there."""
        choice = st.radio("Data", ["sample", "upload"], format_func={"sample": sample, "upload": "My own file"}.get)
        if choice == "sample":
            return "sample"
        upload = st.file_uploader("File", type=list(types))
        if upload is None:
            return None
        # once per upload, not per rerun: the path is what a result is remembered by
        kept: dict[str, Path] = st.session_state.setdefault("uploads", {})
        if upload.file_id not in kept:
            kept[upload.file_id] = _keep(upload.name, upload.getvalue())
        return kept[upload.file_id]

    def config(self, cls: type[ConfigT], fields: Sequence[str], defaults: ConfigT) -> ConfigT | None:
        """Ask for the named fields of a frozen config; say what is wrong with them in one line."""
        hints = get_type_hints(cls)
        columns = st.columns(len(fields))
        values: dict[str, Any] = {}
        help_of = {field.name: field.metadata.get("help", "") for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for column, name in zip(columns, fields, strict=True):
            with column:
                values[name] = _ask(name, hints[name], getattr(defaults, name), help_of[name])
        try:
            return dataclasses.replace(defaults, **values)  # type: ignore[type-var]
        except OmniformError as error:
            st.error(str(error))
            return None

    def compare(self, task: Task[Any, Any], source: str | Path, config: Any) -> None:
        """Choose mixers and a budget, run the comparison, and show it until the data or the options change."""
        names = [system.id for system in host().systems if system.mixer]
        mixers = st.multiselect("Mixers", names, default=[n for n in ("attention", "gla", "mamba") if n in names])
        columns = st.columns(3)
        budget = columns[0].selectbox("Budget of each run", _BUDGETS, format_func=lambda text: str(Budget.parse(text)))
        seeds = columns[1].number_input("Seeds", 1, 10, 1)
        params = columns[2].number_input("Parameters", 10_000, 10_000_000, 100_000, step=10_000)
        if st.button("Compare", type="primary", disabled=not mixers):
            st.session_state.pop("compared", None)
            try:
                result = self._run(task, source, config, mixers, budget, int(seeds), int(params))
                st.session_state["compared"] = (source, config, result)
            except OmniformError as error:
                st.error(str(error))
        match st.session_state.get("compared"):
            case (before, options, result) if (before, options) == (source, config):
                _show(result)

    def _run(
        self,
        task: Task[Any, Any],
        source: str | Path,
        config: Any,
        mixers: Sequence[str],
        budget: str,
        seeds: int,
        params: int,
    ) -> CompareResult:
        bar = st.progress(0.0, "Reading the data and fitting the floors")

        def advance(progress: Progress) -> None:
            bar.progress(progress.share, progress.label)

        out = Path(tempfile.mkdtemp(prefix="omniform-")) / "compare"
        result = compare(
            task,
            source,
            config,
            domain=self.domain,
            mixers=mixers,
            budget=Budget.parse(budget),
            training=Training(validate_every=0.25),
            params=params,
            depth=2,
            seeds=seeds,
            out=out,
            command=f"omniform app {self.domain}",
            progress=False,
            on_progress=advance,
        )
        bar.empty()
        return result


def _keep(name: str, content: bytes) -> Path:
    """Write an upload to a folder of its own; only the last part of its name is used."""
    path = Path(tempfile.mkdtemp(prefix="omniform-")) / Path(name).name
    path.write_bytes(content)
    return path


def _ask(name: str, hint: Any, default: Any, text: str) -> Any:
    label = name.replace("_", " ").capitalize()
    if get_origin(hint) is Literal:
        options = get_args(hint)
        return st.selectbox(label, options, index=options.index(default), help=text)
    if hint is int:
        return int(st.number_input(label, value=default, min_value=1, help=text))
    return st.text_input(label, value=default, help=text)


def _pictures(folder: Path) -> list[Path]:
    """Return a comparison's pictures in reading order."""
    return sorted(folder.glob("*.png"), key=lambda path: (_PLACES.get(path.stem, 1), path.stem))


def _show(result: CompareResult) -> None:
    st.subheader("What came out")
    st.info(result.verdict)
    primary = result.primary
    rows = [
        {
            "": row.name,
            "role": row.role,
            primary.name: row.metrics[primary.name]["mean"] if row.error is None else None,
            "parameters": row.params,
            "steps": row.steps,
            "ms per item": row.latency_ms,
            "level with the best": "yes" if row.tied else "",
        }
        for row in result.rows
    ]
    st.dataframe(rows, hide_index=True)
    for row in result.rows:
        if row.error is not None:
            st.warning(f"{row.name} failed: {row.error}")
    columns = st.columns(2)
    for index, picture in enumerate(_pictures(result.report.parent / "figures")):
        columns[index % 2].image(str(picture))
    st.download_button("Download the report", result.report.read_bytes(), "report.html", "text/html")
    st.download_button(
        "Download the numbers", (result.report.parent / "compare.json").read_bytes(), "compare.json", "application/json"
    )
