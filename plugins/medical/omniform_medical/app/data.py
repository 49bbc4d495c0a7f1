"""The data that the page works on: where it comes from, what is wrong with it, and what is planned for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import streamlit as st

from omniform.errors import DataError, OmniformError
from omniform.workbench import Workbench, plain
from omniform_medical.app.unpacking import unpack
from omniform_medical.check import Finding, Measure, survey_cohort
from omniform_medical.cohort import Cohort, read_cohort, read_inputs
from omniform_medical.config import SegmentConfig
from omniform_medical.fingerprint import fingerprint
from omniform_medical.planning import Proposal, plan_cohort
from omniform_medical.splitting import split_cohort

__all__ = ["TYPES", "DataSet", "choose_data", "upload_name"]

TYPES = ("nii", "gz", "zip", "nrrd", "mha", "dcm")

T = TypeVar("T")

_SOURCES = {
    "sample": "Sample: eight slabs of an average brain",
    "folder": "A folder on this machine",
    "upload": "My own file",
}
_OPTIONS = ("labels", "channels", "test", "group", "memory")
_LAYOUTS = (
    "A data set in the layout of the Medical Segmentation Decathlon or nnU-Net, or with images and labels of the same "
    "names. Nothing is sent anywhere: it is read on the machine that this page runs on."
)
_SHOWN = 8  # findings


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """The data as the tabs take it.

    Attributes:
        source: what `Task.read` takes.
        name: what it is called, without the folders it lies in.
        cohort: its cases, which were all read and found sound.
        plan: made from the training cases; `None` of an image without labels.
    """

    source: str | Path
    name: str
    cohort: Cohort
    plan: Proposal[SegmentConfig] | None


@dataclass(frozen=True, slots=True, eq=False)
class _Surveyed:
    """A cohort and what was found in it; `labelled` says whether it can be trained on."""

    cohort: Cohort
    measures: tuple[Measure, ...]
    findings: tuple[Finding, ...]
    labelled: bool


def choose_data(bench: Workbench) -> DataSet | None:
    """Ask for data and what its files leave open; show what was found, and what is planned."""
    choice = st.radio(
        "Data", list(_SOURCES), format_func=_SOURCES.__getitem__, horizontal=True, key=f"{bench.domain}.data.source"
    )
    found = _ask(bench, choice)
    if found is None:
        return None
    source, name = found
    with st.expander("Labels, split and memory"):
        config = bench.config(SegmentConfig, _OPTIONS, SegmentConfig(), slot=f"data.{source}")
    if config is None:
        return None
    asked = (str(source), config)
    try:
        surveyed = bench.recall("data.surveyed", asked, lambda: _survey(source, name, config))
        _show(surveyed)
        if any(finding.severity == "error" for finding in surveyed.findings):
            return None
        plan = None
        if surveyed.labelled:
            plan = bench.recall("data.plan", asked, lambda: _plan(surveyed.cohort, config))
            _explain(plan)
    except OmniformError as error:
        bench.refuse(error)
        return None
    return DataSet(source, name, surveyed.cohort, plan)


def upload_name(bench: Workbench, slot: str) -> str:
    """Return what an upload is called on the machine that it came from."""
    return Path(st.session_state[f"{bench.domain}.{slot}.upload"].name).name


def _ask(bench: Workbench, choice: str) -> tuple[str | Path, str] | None:
    """Return what to read and what it is called."""
    if choice == "sample":
        return "sample", "sample"
    if choice == "folder":
        text = st.text_input("Folder", key=f"{bench.domain}.data.folder", placeholder="Task04_Hippocampus").strip()
        st.caption(_LAYOUTS)
        return (Path(text).expanduser(), Path(text).name) if text else None
    path = bench.upload("File", types=TYPES, slot="data", help="kept in a temporary folder, which goes with this visit")
    if path is None:
        st.caption("A zip of a data set with labels; or, to look at, a NIfTI image or a zip of a DICOM series.")
        return None
    name = upload_name(bench, "data")
    if path.suffix != ".zip":
        return path, name
    try:
        folder = bench.recall("data.unpacked", str(path), lambda: _said(lambda: unpack(path, name)))
    except OmniformError as error:
        bench.refuse(error)
        return None
    return (path if folder is None else folder.path), name


def _survey(source: str | Path, name: str, config: SegmentConfig) -> _Surveyed:
    """Read every case once."""
    bar = st.progress(0.0, "Reading the cases")

    def advance(done: int, count: int) -> None:
        bar.progress(done / count, f"Reading the cases: {done} of {count}")

    try:
        with _called(source, name):
            labelled = source == "sample" or Path(source).is_dir()
            cohort = read_cohort(source, config) if labelled else _image(Path(source), name)
            survey = survey_cohort(cohort, progress=advance)
        findings = tuple(replace(each, text=each.text.replace(str(source), name)) for each in survey.findings)
        return _Surveyed(cohort, survey.measures, findings, labelled)
    finally:
        bar.empty()


def _image(path: Path, name: str) -> Cohort:
    """Return an image as a cohort of one."""
    cohort = read_inputs(path, ("image",), ("background",), (0,))
    return replace(cohort, cases=tuple(replace(case, name=name) for case in cohort.cases))


def _plan(cohort: Cohort, config: SegmentConfig) -> Proposal[SegmentConfig]:
    with st.spinner("Planning from the training cases"):
        return plan_cohort(fingerprint(split_cohort(cohort, config).train), config)


def _show(surveyed: _Surveyed) -> None:
    """Show what was read, and what is wrong with it."""
    cohort, measures = surveyed.cohort, surveyed.measures
    if measures:
        shape = np.median([measure.shape for measure in measures], axis=0)
        spacing = np.median([measure.spacing for measure in measures], axis=0)
        facts = {
            "Cases": f"{len(cohort):,}",
            "Labels": str(len(cohort.labels) - 1) if surveyed.labelled else "none",
            "Voxels": " x ".join(f"{value:.0f}" for value in shape),
            "Millimetres": " x ".join(f"{value:.3g}" for value in spacing),
        }
        for column, (label, fact) in zip(st.columns(4), facts.items(), strict=True):
            column.metric(label, fact)
        channels = f"Channels: {', '.join(cohort.channels)}. " if surveyed.labelled else ""
        labels = f"Labels: {', '.join(cohort.labels[1:])}. " if surveyed.labelled else ""
        sound = "" if surveyed.findings else " Every case was read, and nothing is wrong with them."
        st.caption(plain(f"{channels}{labels}Voxels and millimetres are those of the median case.{sound}"))
    for finding in surveyed.findings[:_SHOWN]:
        (st.error if finding.severity == "error" else st.warning)(plain(str(finding)))
    if (more := len(surveyed.findings) - _SHOWN) > 0:
        st.caption(f"And {more} findings more: `omniform medical check` lists them.")


def _explain(proposal: Proposal[SegmentConfig]) -> None:
    with st.expander("The plan, and why"):
        st.markdown("\n".join(f"- {plain(sentence)}" for sentence in proposal.why))


@contextmanager
def _called(source: str | Path, name: str) -> Iterator[None]:
    """Call the data by its name in what is said of it, for folders may be named after people."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{name!r} cannot be read ({error.strerror})") from None
    except OmniformError as error:
        raise type(error)(str(error).replace(str(source), name)) from None


def _said(work: Callable[[], T]) -> T:
    """Say in one line what the system says of an archive."""
    try:
        return work()
    except OSError as error:
        raise DataError(f"the archive cannot be unpacked ({error.strerror})") from None
