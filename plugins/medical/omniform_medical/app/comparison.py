"""The tab that compares mixers."""

from __future__ import annotations

from omniform.workbench import Workbench
from omniform_medical.app.data import DataSet
from omniform_medical.config import SegmentConfig
from omniform_medical.planning import Proposal
from omniform_medical.task import Segment

__all__ = ["comparison"]

_FIELDS = ("model", "loss", "augment")


def comparison(bench: Workbench, data: DataSet, plan: Proposal[SegmentConfig]) -> None:
    """Compare mixers on the data set."""
    config = bench.config(SegmentConfig, _FIELDS, plan.config, slot="compare")
    if config is not None:
        bench.compare(Segment(), data.source, config)
