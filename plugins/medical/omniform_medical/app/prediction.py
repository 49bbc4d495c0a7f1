"""The tab that segments an image by a trained run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from omniform.errors import DataError
from omniform.trial import Trial
from omniform.workbench import Workbench
from omniform_medical.api import Segmenter
from omniform_medical.app.data import TYPES, upload_name
from omniform_medical.app.looking import choose_case
from omniform_medical.app.scene import Scene, make_scene
from omniform_medical.app.viewer import viewer
from omniform_medical.cohort import Cohort
from omniform_medical.output import write_confidence, write_segmentations
from omniform_medical.reading import strip_ending
from omniform_medical.segmentation import Segmentations
from omniform_medical.task import Segment
from omniform_medical.volumes import label_volumes, write_volumes

__all__ = ["prediction"]

_HERE, _FOLDER = "the one trained on this page", "a run folder on this machine"
_UPLOAD, _PATH = "my own file", "a path on this machine"


@dataclass(frozen=True, slots=True, eq=False)
class _Predicted:
    """What a run says of images, and its floors if it was trained here."""

    items: Cohort
    told: Mapping[str, Segmentations]


def prediction(bench: Workbench, trial: Trial | None) -> None:
    """Segment an image, look at it, and hand out files."""
    run = _ask_run(bench, trial)
    source = _ask_source(bench)
    if run is None or source is None:
        return
    path, name = source
    predicted = bench.outcome(
        "Segment",
        (run, str(path)),
        lambda: _predict(run, path, name),
        slot="predict",
    )
    if predicted is not None:
        _show(bench, predicted)


def _ask_run(bench: Workbench, trial: Trial | None) -> Trial | Path | None:
    choices = ([_HERE] if trial is not None else []) + [_FOLDER]
    chosen = st.radio("Run", choices, horizontal=True, key=f"{bench.domain}.predict.run.{len(choices)}")
    if chosen == _HERE:
        return trial
    text = st.text_input("Run folder", key=f"{bench.domain}.predict.folder", placeholder="runs/hippocampus").strip()
    return Path(text).expanduser() if text else None


def _ask_source(bench: Workbench) -> tuple[Path, str] | None:
    """Return where the image lies and what it is called."""
    chosen = st.radio("Image", [_UPLOAD, _PATH], horizontal=True, key=f"{bench.domain}.predict.source")
    if chosen == _PATH:
        text = st.text_input("Path", key=f"{bench.domain}.predict.path", placeholder="ct.nii.gz").strip()
        return (Path(text).expanduser(), "") if text else None
    path = bench.upload("NIfTI, or a zip of a DICOM series", types=TYPES, slot="predict")
    return None if path is None else (path, strip_ending(upload_name(bench, "predict")))


def _predict(run: Trial | Path, path: Path, name: str) -> _Predicted:
    """Segment what lies at a path; an upload is called by its own name."""
    task = Segment()
    bar = st.progress(0.0, "Segmenting")
    try:
        if isinstance(run, Path):
            segmenter = Segmenter.load(run)
            items = task.predictor_items(path, segmenter.config)
            told = {segmenter.mixer: segmenter.segment([path])}
        else:
            items = task.predictor_items(path, run.config)
            told = {}
            for done, (given, predictor) in enumerate(run.predictors.items()):
                bar.progress(done / len(run.predictors), f"Segmenting: {given}")
                told[given] = predictor.predict(items)
    except OSError as error:
        raise DataError(f"{path.name!r} cannot be read ({error.strerror})") from None
    finally:
        bar.empty()
    if not name:
        return _Predicted(items, told)
    return _Predicted(
        replace(items, cases=tuple(replace(case, name=name) for case in items.cases)),
        {given: replace(each, cases=[replace(case, name=name) for case in each.cases]) for given, each in told.items()},
    )


def _show(bench: Workbench, predicted: _Predicted) -> None:
    index = choose_case(bench, [case.name for case in predicted.items.cases], slot="predict")
    scene = bench.recall("predict.scene", (predicted, index), lambda: _scene(predicted, index))
    viewer(bench, scene, slot="predict")
    files = bench.recall("predict.files", (predicted, index), lambda: _files(predicted, index))
    for column, (label, (name, content)) in zip(st.columns(3), files.items(), strict=True):
        column.download_button(label, content, name, key=f"{bench.domain}.predict.{label}")


def _scene(predicted: _Predicted, index: int) -> Scene:
    items = predicted.items
    return make_scene(items.cases[index].name, items.read(index), items.labels, items.channels, predicted.told, index)


def _files(predicted: _Predicted, index: int) -> dict[str, tuple[str, bytes]]:
    """Return what is to be handed out of a case, by label: the name of the file and what is in it."""
    every = next(iter(predicted.told.values()))  # the network's
    case = every.cases[index]
    alone = replace(every, cases=[case])
    with TemporaryDirectory(prefix="omniform-") as folder:
        segmentation, confidence, volumes = (
            Path(folder, name) for name in ("segmentation.nii.gz", "confidence.nii.gz", "volumes.csv")
        )
        write_segmentations(alone, segmentation)
        write_confidence(case, confidence)
        write_volumes(label_volumes(alone), volumes)
        return {
            f"Download the {path.name.partition('.')[0]}": (f"{case.name}_{path.name}", path.read_bytes())
            for path in (segmentation, confidence, volumes)
        }
