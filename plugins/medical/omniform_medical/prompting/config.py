"""Options of the task `prompt`, and nothing heavy: the command line derives its options from these fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omniform.configuration import check_choices, option
from omniform.errors import ConfigError
from omniform_medical.config import CohortConfig
from omniform_medical.prompting.shape import SamShape

__all__ = ["PromptConfig", "PromptKind"]

PromptKind = Literal["box", "click"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptConfig(CohortConfig):
    """Options of the task `prompt`; `Prompt.resolve` writes down `side` and `vit`.

    Raises:
        ConfigError: a value is out of range.
    """

    prompt: PromptKind = option("box", "what points at the object: a box around it, or a click on it")
    jitter: float = option(0.15, "by how much of its sides a box is larger than the object, drawn up to this share")
    planes: int = option(4, "planes of each label of a case, spread over those that hold it")
    smallest: int = option(16, "pixels that a label must have in a plane to be asked for")
    prompt_seed: int = option(0, "seed of the prompts that validation and test are scored with")
    side: int = option(0, "pixels to which planes are scaled (by default a quarter more than they have, 256 at most)")
    vit: tuple[int, ...] = option(
        (), "width,layers,heads,patch,window,decoder,hidden of SAM (a small one by default, or that of --sam)"
    )
    sam: Path | None = option(None, "safetensors file of transformers' SamModel to start from, instead of pre-training")
    pretrain: int = option(200, "steps in which SAM's image encoder learns to fill in patches of the training planes")

    def __post_init__(self) -> None:
        CohortConfig.__post_init__(self)
        check_choices(self, {"prompt": PromptKind})
        if not 0 <= self.jitter <= 1:
            raise ConfigError(f"expected jitter from 0 to 1, got {self.jitter}")
        for name, least in (("planes", 1), ("smallest", 1), ("prompt_seed", 0), ("side", 0), ("pretrain", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"expected {name} of at least {least}, got {getattr(self, name)}")
        if self.vit:
            shape = SamShape.of(self.vit)
            if self.side % shape.patch:
                raise ConfigError(
                    f"expected a side that is a multiple of SAM's patch of {shape.patch}, got {self.side}"
                )
