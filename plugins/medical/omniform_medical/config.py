"""Options of the task `segment`, and nothing heavy: the command line derives its options from these fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omniform.configuration import check_choices, option
from omniform.errors import ConfigError

__all__ = ["CohortConfig", "ModelName", "PlanConfig", "SegmentConfig"]

ModelName = Literal["unet", "lightm-unet", "mambaclinix", "diamant", "dtn", "med3d"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CohortConfig:
    """How files become cases, and how cases are split.

    Raises:
        ConfigError: a value is out of range.
    """

    labels: str = option(
        "", "classes as VALUE=NAME with commas, 0=background first (from dataset.json, or found in the files)"
    )
    channels: str = option("", "names of the channels, with commas (from dataset.json by default)")
    test: str = option(
        "0.2", "cases to test on: a share, taken from the end of the sorted names; or names, with commas"
    )
    fold: int = option(0, "which of the --folds validates; the others train")
    folds: int = option(5, "parts into which cases that are not for testing are cut at random")
    group: str = option("", "a regular expression whose match in a case's name is the patient; one patient, one part")

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ConfigError(f"expected at least 2 folds, got {self.folds}")
        if not 0 <= self.fold < self.folds:
            raise ConfigError(f"expected a fold from 0 to {self.folds - 1}, got {self.fold}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanConfig(CohortConfig):
    """What a network sees of a volume; what is left empty is planned from the data and written down by `resolve`.

    Raises:
        ConfigError: a value is out of range, or two values contradict each other.
    """

    dims: Literal["auto", "2", "3"] = option("auto", "axes that the network sees; auto takes planes of flat volumes")
    spacing: tuple[float, ...] = option((), "millimetres between voxels, right,front,up (planned by default)")
    patch: tuple[int, ...] = option((), "voxels of a patch, right,front,up (planned by default)")
    stages: int = option(0, "resolutions of the pyramid; 0 plans them")
    normalization: tuple[str, ...] = option((), "zscore or ct, for each channel (planned by default)")
    intensities: tuple[float, ...] = option((), "low,high,mean,std of each channel's foreground, for ct (measured)")
    batch: int = option(0, "patches of a step; 0 plans them")
    memory: str = option("4G", "memory that training may take, as planned by formula")
    plan: Path | None = option(None, "a file that `omniform medical plan` wrote, perhaps edited, instead of planning")

    def __post_init__(self) -> None:
        CohortConfig.__post_init__(self)
        check_choices(self, {"dims": ("auto", "2", "3")})


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentConfig(PlanConfig):
    """Options of the task `segment`.

    Raises:
        ConfigError: a value is out of range, or two values contradict each other.
    """

    model: ModelName = option("unet", "unet | lightm-unet | mambaclinix | diamant | dtn | med3d")
    loss: Literal["dice-ce", "tversky"] = option("dice-ce", "Dice and cross-entropy, or region-specific Tversky")
    foreground: float = option(0.33, "share of training patches that are centred on a foreground voxel")
    augment: Literal["full", "light", "none"] = option("full", "how much training patches are varied")
    mirror: str = option("", "axes along which training and prediction mirror, such as x or xy")
    overlap: float = option(0.5, "share by which neighbouring windows overlap in prediction")
    encoder: Path | None = option(None, "med3d: folder of `omniform medical co-train` whose encoder to start from")
    encoder_size: tuple[int, ...] = option((), "its width, hidden width and depth (written down from --encoder)")

    def __post_init__(self) -> None:
        PlanConfig.__post_init__(self)
        check_choices(self, {"model": ModelName, "loss": ("dice-ce", "tversky"), "augment": ("full", "light", "none")})
        if self.encoder is not None and self.model != "med3d":
            raise ConfigError(f"an encoder of co-training fits --model med3d, got --model {self.model}")
        if not 0 <= self.foreground <= 1:
            raise ConfigError(f"expected foreground from 0 to 1, got {self.foreground}")
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"expected overlap of at least 0 and below 1, got {self.overlap}")
        if set(self.mirror) - set("xyz"):
            raise ConfigError(f"expected mirror of the axes x, y, z, such as xy; got {self.mirror!r}")
