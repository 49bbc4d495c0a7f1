"""A small sample, and a scanner that was trained for a moment."""

from __future__ import annotations

import pytest

from omniform.training.config import Training
from omniform_codegen.scanning.api import Scanner
from omniform_codegen.scanning.config import ScanConfig
from omniform_codegen.scanning.sample import sample_snippets
from omniform_codegen.scanning.snippets import Snippets


@pytest.fixture(scope="session")
def small() -> ScanConfig:
    return ScanConfig(snippets=600, context=40)


@pytest.fixture(scope="session")
def snippets(small) -> Snippets:
    return sample_snippets(small)


@pytest.fixture(scope="session")
def scanner() -> Scanner:
    training = Training(batch_size=32, precision="32", device="cpu", validate_every=1.0)
    return Scanner(snippets=600, context=40, buckets=256, params=60_000, training=training).fit(
        "sample", budget="30", progress=False
    )
