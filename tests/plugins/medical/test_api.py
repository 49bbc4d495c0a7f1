"""A segmenter from Python: fit, predict, score, save and load, on the embedded sample."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from omniform.errors import ConfigError, DataError, RunError
from omniform.run import Run
from omniform.training.config import Training
from omniform_medical.api import Segmenter
from omniform_medical.sample import load_sample


@pytest.fixture(scope="module")
def fitted():
    segmenter = Segmenter(
        "linear-attention", spacing=(4, 4, 4), patch=(16, 16, 16), stages=3, params=60_000, depth=1,
        training=Training(precision="32", device="cpu"),
    )  # fmt: skip
    return segmenter.fit("sample", budget="2", progress=False)


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "run"
    fitted.save(path)
    return path


@pytest.fixture
def scan():
    return load_sample().cases[0].images[0]


def test_options_are_filled_by_the_data(fitted):
    assert fitted.config.channels == "T1"
    assert fitted.config.spacing == (4, 4, 4)
    assert fitted.config.patch == (16, 16, 16)
    assert fitted.config.batch >= 2


def test_a_prediction_lies_on_the_grid_of_its_file(fitted, scan):
    told = fitted.predict(scan)
    source = nibabel.load(scan)
    assert told.name == "slab-1-image"
    assert told.label.shape == told.confidence.shape == source.shape
    assert told.label.dtype == told.confidence.dtype == np.uint8
    assert told.label.max() <= 2
    assert np.array_equal(told.like.geometry.affine, source.affine)
    # the likeliest of three classes has at least a third, and what is surely background has all
    assert told.confidence.min() >= 255 // 3


def test_several_files_keep_their_order(fitted):
    paths = [case.images[0] for case in load_sample().cases[2:0:-1]]
    told = fitted.segment(paths)
    assert [case.name for case in told.cases] == ["slab-3-image", "slab-2-image"]
    assert told.labels == ("background", "grey matter", "white matter")
    assert told.values == (0, 1, 2)
    assert np.array_equal(told.cases[1].label, fitted.predict(paths[1]).label)


def test_floors_are_scored_beside(fitted):
    scores = fitted.evaluate()
    assert list(scores) == ["linear-attention", "atlas", "prior"]
    assert all(set(each) >= {"dice", "nsd", "hd95", "ece"} for each in scores.values())
    assert scores["atlas"]["dice"] > scores["prior"]["dice"] > 0.3


def test_what_was_saved_predicts_the_same(fitted, saved, scan):
    loaded = Segmenter.load(saved)
    assert loaded.config == fitted.config
    ours, theirs = loaded.predict(scan), fitted.predict(scan)
    assert np.array_equal(ours.label, theirs.label)
    assert np.array_equal(ours.confidence, theirs.confidence)
    assert loaded.evaluate("sample")["linear-attention"] == pytest.approx(fitted.evaluate()["linear-attention"])
    assert Run.open(saved).spec.task == "segment"
    assert not [file for file in Path(saved).rglob("*") if file.suffix in (".pt", ".pth", ".pkl", ".ckpt")]


def test_a_run_names_what_it_was_trained_on(saved):
    assert Run.open(saved).data.source == "sample"


def test_mistakes_are_told_in_a_line(fitted, saved, tmp_path):
    with pytest.raises(ConfigError, match="nothing was fitted yet"):
        Segmenter().evaluate()
    with pytest.raises(RunError, match="expected --out to be new or empty"):
        fitted.save(saved)
    with pytest.raises(RunError, match="expected a run folder"):
        Segmenter.load(tmp_path)
    with pytest.raises(DataError, match="there is no"):
        fitted.predict(tmp_path / "absent.nii.gz")
    with pytest.raises(ConfigError, match="holds no test data"):
        Segmenter.load(saved).evaluate()
    with pytest.raises(ConfigError, match="nothing was fitted yet"):
        Segmenter().predict("scan.nii.gz")
