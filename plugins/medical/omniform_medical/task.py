"""The task `segment`: name every voxel of a volume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from omniform.configuration import join_names, split_names
from omniform.errors import ConfigError
from omniform.task import Floor, Metric, NamedFigure, Network, Scores, Splits
from omniform_medical.check import check_cohort, refuse
from omniform_medical.cohort import Cohort, read_cohort, read_inputs
from omniform_medical.config import SegmentConfig
from omniform_medical.floors import floors_of
from omniform_medical.layouts.labels import format_labels, parse_labels
from omniform_medical.metrics import metrics_of, score
from omniform_medical.output import write_segmentations
from omniform_medical.planning import resolve_plan
from omniform_medical.segmentation import Segmentations
from omniform_medical.splitting import patients, split_cohort

__all__ = ["Segment"]


class Segment:
    """Segment volumes and planes; implements `omniform.task.Task`."""

    name = "segment"
    config = SegmentConfig

    def metrics(self, config: SegmentConfig) -> tuple[Metric, ...]:
        return metrics_of(config)

    def read(self, source: str | Path, config: SegmentConfig) -> Cohort:
        """Read every case once, so that what is wrong comes out before training."""
        cohort = read_cohort(source, config)
        refuse(check_cohort(cohort))
        return cohort

    def fingerprint(self, data: Cohort) -> str:
        return data.fingerprint

    def resolve(self, data: Cohort, config: SegmentConfig) -> SegmentConfig:
        """Write down labels and channels, and plan by the training cases what options leave open."""
        train = split_cohort(data, config).train
        if config.encoder is not None and not config.encoder_size:
            from omniform_medical.co_training import load_encoder

            size = load_encoder(config.encoder)[0].size
            config = replace(config, encoder_size=(size.dim, size.hidden, size.depth))
        config = resolve_plan(train, config)
        if config.patch[2] == 1 and "z" in config.mirror:
            raise ConfigError(f"expected --mirror of x and y, for the plan is one of planes; got {config.mirror}")
        return replace(
            config,
            labels=format_labels(data.labels, data.values),
            channels=join_names(data.channels),
        )

    def split(self, data: Cohort, config: SegmentConfig) -> Splits[Cohort]:
        return split_cohort(data, config)

    def floors(self, config: SegmentConfig) -> Sequence[Floor]:
        return floors_of()

    def network(self, splits: Splits[Cohort], config: SegmentConfig, mixer: str) -> Network:
        from omniform_medical.network import segment_network

        return segment_network(config, mixer, len(splits.train.channels))

    def predictor_items(self, source: str | Path, config: SegmentConfig) -> Cohort:
        return read_inputs(source, split_names(config.channels), *parse_labels(config.labels))

    def score(self, predictions: Segmentations, items: Cohort, config: SegmentConfig) -> Scores:
        from omniform_medical.network import store_of

        store = store_of(items, config)
        truths = [store[index].truth for index in range(len(store))]
        groups = np.unique(patients(items, config.group), return_inverse=True)[1]
        return score(
            predictions,
            [truth for truth in truths if truth is not None],
            labels=items.labels,
            groups=groups if config.group else None,
        )

    def write(self, predictions: Segmentations, path: Path) -> None:
        write_segmentations(predictions, path)

    def figures(
        self, predictions: Mapping[str, Segmentations], items: Cohort, config: SegmentConfig
    ) -> Iterable[NamedFigure]:
        from omniform_medical.figures import segment_figures

        return segment_figures(predictions, items)
