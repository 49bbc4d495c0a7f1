"""The main job on embedded data: which mixer models the standard library best, and does it beat n-grams?"""

from __future__ import annotations

from pathlib import Path

from omniform.compare import CompareResult, compare
from omniform.task import Budget
from omniform.training.config import Training
from omniform_codegen.config import CompleteConfig
from omniform_codegen.task import Complete

__all__ = ["run"]

MIXERS = ("attention", "gla")
STEPS = 250


def run(out: Path) -> CompareResult:
    """Compare two mixers on the sample at equal steps; about a minute on one core.

    The learning rate is given rather than searched for, and there is one seed: a demonstration, not a result. So few
    steps lose to the n-grams of the whole library, and the report says so.
    """
    return compare(
        Complete(),
        "sample",
        CompleteConfig(context=128, spans=16, validation_bytes=20_000, test_bytes=60_000),
        domain="codegen",
        mixers=MIXERS,
        budget=Budget(steps=STEPS),
        training=Training(learning_rate=5e-3, validate_every=0.5),
        params=250_000,
        depth=2,
        seeds=1,
        out=out,
        command="omniform demo --domain codegen",
    )
