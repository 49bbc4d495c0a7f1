"""A classifier as an ONNX file, from pictures to the same classes."""

import pytest

from omniform import commands
from omniform.export import export_run
from omniform.task import Budget
from omniform.training.config import Training
from omniform_medical.classification.api import ImageClassifier
from omniform_medical.classification.config import ClassifyConfig
from omniform_medical.classification.task import Classify

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    "model",
    [
        "fetal-plane",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("pyramid", "dct-histotransformer", "duoformer")),
    ],
)
def test_an_exported_classifier_says_the_same(make_album, write_album, tmp_path, model):
    folder = write_album(make_album(60), tmp_path / "stripes")
    commands.train(
        Classify(),
        folder,
        ClassifyConfig(model=model),
        domain="medical",
        mixer="attention",
        budget=Budget(steps=2),
        training=Training(batch_size=8, precision="32", device="cpu"),
        params=24_000 if model == "dct-histotransformer" else 50_000,
        depth=1,
        seed=0,
        out=tmp_path / "run",
        progress=False,
    )
    report = export_run(tmp_path / "run", out=tmp_path / "stripes.onnx")
    assert report.parity < 1e-4
    ours, theirs = (ImageClassifier.load(tmp_path / name).predict(folder) for name in ("stripes.onnx", "run"))
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
