"""A segmenter as an ONNX file: the same labels as the run's."""

from contextlib import nullcontext

import numpy as np
import pytest

from omniform import commands
from omniform.export import export_run, load_onnx
from omniform.task import Budget
from omniform.training.config import Training
from omniform_medical.api import Segmenter
from omniform_medical.config import SegmentConfig
from omniform_medical.sample import load_sample
from omniform_medical.task import Segment


def _export(folder, model, mixer, patch, params):
    config = SegmentConfig(spacing=(4.0, 4.0, 4.0), patch=patch, stages=2, batch=2, model=model, mirror="x")
    commands.train(
        Segment(), "sample", config, domain="medical", mixer=mixer, budget=Budget(steps=2),
        training=Training(precision="32", device="cpu", validate_every=1.0), params=params, depth=1, seed=0,
        out=folder / "run", progress=False,
    )  # fmt: skip
    return export_run(folder / "run", out=folder / "segmenter.onnx")


@pytest.mark.parametrize(
    ("model", "mixer", "patch", "params"),
    [
        ("unet", "linear-attention", (16, 16, 16), 40_000),
        pytest.param("unet", "linear-attention", (16, 24, 1), 20_000, marks=pytest.mark.slow),
        pytest.param("unet", "attention", (16, 16, 16), 60_000, marks=pytest.mark.slow),
    ],
)
def test_an_exported_segmenter_segments_the_same(tmp_path, monkeypatch, model, mixer, patch, params):
    # ONNX Runtime computes in float32, the run in bfloat16 where the machine has it: rounding may turn a label
    monkeypatch.setattr("omniform_medical.network._fast_format", nullcontext)
    report = _export(tmp_path, model, mixer, patch, params)
    assert report.parity < 1e-4
    path = load_sample().cases[1].images[0]
    ours, theirs = (Segmenter.load(tmp_path / name).predict(path) for name in ("segmenter.onnx", "run"))
    assert len(np.unique(theirs.label)) > 1
    assert np.array_equal(ours.label, theirs.label)
    assert np.abs(ours.confidence.astype(int) - theirs.confidence).max() <= 1
    assert load_onnx(tmp_path / "segmenter.onnx").description.inputs == ("image",)
