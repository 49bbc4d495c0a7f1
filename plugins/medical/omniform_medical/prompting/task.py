"""The task `prompt`: segment what a box or a click points at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np

from omniform.task import Floor, Metric, NamedFigure, Network, Scores, Splits
from omniform_medical.cohort import Cohort, read_cohort
from omniform_medical.prompting.config import PromptConfig
from omniform_medical.prompting.data import Prompts, read_prompts
from omniform_medical.prompting.floors import RuleEstimator, better_rule, ellipse, threshold
from omniform_medical.prompting.masks import Masks, write_masks
from omniform_medical.prompting.metrics import METRICS, score
from omniform_medical.prompting.shape import SMALL
from omniform_medical.splitting import split_cohort

__all__ = ["Prompt"]

_LOOKED_AT = 10
_STEP = 32
_ROOM = 1.25
_LARGEST = 256
_FLOOR = "rule"


class Prompt:
    """Segment one object of a plane, pointed at; implements `omniform.task.Task`.

    Planes run across the third axis of their file: the slices as most scanners store them.
    """

    name = "prompt"
    config = PromptConfig

    def metrics(self, config: PromptConfig) -> tuple[Metric, ...]:
        return METRICS

    def read(self, source: str | Path, config: PromptConfig) -> Cohort:
        return read_cohort(source, config)

    def fingerprint(self, data: Cohort) -> str:
        return data.fingerprint

    def resolve(self, data: Cohort, config: PromptConfig) -> PromptConfig:
        """Plan the side and the shape of SAM, unless they are given.

        The side is the median of the longer sides of planes and a quarter more, in steps of 32 and at most 256; with
        `--sam` it is what that was trained on. The small SAM's masks have half that resolution: a longer training may
        gain from a larger `--side`.
        """
        if config.vit and config.side:
            return config
        if config.sam is not None:
            from omniform_medical.prompting.sam import shape_of

            shape, side = shape_of(config.sam)
            return replace(config, vit=config.vit or shape.numbers, side=config.side or side)
        return replace(config, vit=config.vit or SMALL.numbers, side=config.side or _planned_side(data))

    def split(self, data: Cohort, config: PromptConfig) -> Splits[Prompts]:
        parts = split_cohort(data, config)
        return Splits(*(read_prompts(part, config) for part in (parts.train, parts.validation, parts.test)))

    def floors(self, config: PromptConfig) -> Sequence[Floor]:
        return (
            Floor(
                name=_FLOOR,
                summary="the ellipse or the threshold, whichever is better on validation",
                estimator=better_rule(),
            ),
            Floor(name="ellipse", summary="the ellipse inscribed in the box", estimator=RuleEstimator((ellipse,))),
            Floor(
                name="threshold",
                summary="Otsu's threshold in the box, and its largest piece",
                estimator=RuleEstimator((threshold,)),
            ),
        )

    def network(self, splits: Splits[Prompts], config: PromptConfig, mixer: str) -> Network:
        from omniform_medical.prompting.network import prompt_network

        return prompt_network(config, mixer)

    def predictor_items(self, source: str | Path, config: PromptConfig) -> Prompts:
        """Read cases with labels, from which prompts are drawn; a prompt of one's own is for the verb `prompt`."""
        return read_prompts(read_cohort(source, config), config)

    def score(self, predictions: Masks, items: Prompts, config: PromptConfig) -> Scores:
        return score(predictions, items)

    def write(self, predictions: Masks, path: Path) -> None:
        write_masks(predictions, path)

    def figures(self, predictions: Mapping[str, Masks], items: Prompts, config: PromptConfig) -> Iterable[NamedFigure]:
        from omniform_medical.prompting.figures import prompt_figures

        return prompt_figures(predictions, items, floor=_FLOOR)


def _planned_side(data: Cohort) -> int:
    places = np.unique(np.linspace(0, len(data) - 1, min(_LOOKED_AT, len(data))).astype(int))
    longest = np.median([max(data.read(int(place)).geometry.shape[:2]) for place in places])
    return min(_STEP * ceil(_ROOM * longest / _STEP), _LARGEST)
