"""The file in which a plan is handed on, to be read and edited."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from omniform.errors import ConfigError, RunError
from omniform.serial import from_json, read_json
from omniform_medical.config import PlanConfig
from omniform_medical.plan import Intensity, Normalization, Plan

__all__ = ["PlanParts", "fill_plan", "flatten"]

ConfigT = TypeVar("ConfigT", bound=PlanConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanParts:
    """The plan as a file holds it, to be edited: what the options of the same names hold."""

    dims: Literal["2", "3"]
    spacing: tuple[float, float, float]
    patch: tuple[int, int, int]
    stages: int
    normalization: tuple[Normalization, ...]
    intensities: tuple[Intensity, ...]
    batch: int

    @classmethod
    def of(cls, plan: Plan) -> PlanParts:
        return cls(
            dims="2" if plan.rank == 2 else "3",
            spacing=plan.spacing,
            patch=plan.patch,
            stages=len(plan.strides) + 1,
            normalization=plan.normalization,
            intensities=plan.intensities,
            batch=plan.batch,
        )


def fill_plan(config: ConfigT, path: Path) -> ConfigT:
    """Fill what the options leave open from a file; the result no longer names it.

    Raises:
        ConfigError: the file is missing, or holds no plan.
    """
    try:
        value = read_json(path)
        parts = from_json(PlanParts, value.get("plan") if isinstance(value, dict) else None, where=f"{path}: plan")
    except RunError as error:
        reason = str(error).rpartition("; ")[0]  # what follows is the remedy for a run folder
        raise ConfigError(f"{reason}; mend the file, or write it anew with `omniform medical plan`") from None
    return replace(
        config,
        plan=None,
        dims=parts.dims if config.dims == "auto" else config.dims,
        spacing=config.spacing or parts.spacing,
        patch=config.patch or parts.patch,
        stages=config.stages or parts.stages,
        normalization=config.normalization or parts.normalization,
        intensities=config.intensities or flatten(parts.intensities),
        batch=config.batch or parts.batch,
    )


def flatten(intensities: tuple[Intensity, ...]) -> tuple[float, ...]:
    """Write intensities as the option has them: low, high, mean and std of each channel."""
    return tuple(value for each in intensities for value in (each.low, each.high, each.mean, each.std))
