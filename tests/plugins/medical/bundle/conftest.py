"""A run that was trained for two steps, and its bundle."""

from dataclasses import replace

import pytest

from omniform.training.config import Training
from omniform_medical.api import Segmenter
from omniform_medical.bundle import export_bundle


@pytest.fixture(scope="session")
def bundled_run(tmp_path_factory):
    """Return the folder of a run whose windows lie where MONAI puts them on the sample."""
    segmenter = Segmenter(
        "linear-attention", spacing=(4, 4, 4), patch=(16, 16, 16), stages=3, mirror="x", params=60_000, depth=1,
        training=Training(precision="32", device="cpu"),
    )  # fmt: skip
    segmenter.config = replace(segmenter.config, overlap=0.25)
    segmenter.fit("sample", budget="2", progress=False)
    path = tmp_path_factory.mktemp("runs") / "run"
    segmenter.save(path)
    return path


@pytest.fixture(scope="session")
def bundle(bundled_run, tmp_path_factory):
    return export_bundle(bundled_run, tmp_path_factory.mktemp("bundles") / "bundle")
