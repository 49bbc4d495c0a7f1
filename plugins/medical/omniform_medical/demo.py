"""The main job on embedded data: which mixer segments slabs of an average brain best, and does it beat an atlas?"""

from __future__ import annotations

from pathlib import Path

from omniform.compare import CompareResult, compare
from omniform.task import Budget
from omniform.training.config import Training
from omniform_medical.config import SegmentConfig
from omniform_medical.task import Segment

__all__ = ["run"]

MIXERS = ("attention", "linear-attention")
STEPS = 60


def run(out: Path) -> CompareResult:
    """Compare two mixers on the sample at equal steps; less than a minute on one core.

    Voxels twice as coarse as the sample's keep it short. The learning rate is given rather than searched for, and there
    is one seed: a demonstration, not a result.
    """
    return compare(
        Segment(),
        "sample",
        SegmentConfig(spacing=(4.0, 4.0, 4.0), patch=(20, 6, 40), stages=3, batch=2),
        domain="medical",
        mixers=MIXERS,
        budget=Budget(steps=STEPS),
        training=Training(learning_rate=3e-3, validate_every=0.5),
        params=150_000,
        depth=1,
        seeds=1,
        out=out,
        command="omniform demo --domain medical",
    )
