"""Prompted segmentation in a few lines: an image and a box in, a mask out.

X, Y, Z = voxels along the axes of a file
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from omniform.errors import ConfigError, DataError
from omniform.learner import Learner
from omniform.task import Task
from omniform.training.config import Training
from omniform_medical.prompting.config import PromptConfig, PromptKind
from omniform_medical.prompting.data import Ask, Prompts, normalized
from omniform_medical.prompting.task import Prompt
from omniform_medical.reading import read_image

__all__ = ["Answer", "Picture", "Prompter"]

_DEFAULT = PromptConfig()

Picture = np.ndarray | str | Path
"""An array `(X, Y)` or `(X, Y, Z)`, or a file of any format that `reading.read_image` reads."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a prompt selects.

    Attributes:
        mask: bool, of the shape of the image; of a volume only the plane that was asked for may be true.
        quality: the intersection over union with the truth that the network expects, 0 to 1.
    """

    mask: np.ndarray
    quality: float


class Prompter(Learner[PromptConfig]):
    """Segment the object that a box or a click points at, with one network.

    It trains on cases with labels in any layout that the domain reads, on planes across the third axis of their files.

    Args:
        mixer: the id of a token mixer; `omniform zoo --kind token-mixer` lists them.
        prompt, jitter, planes, smallest, prompt_seed, side, vit, sam, pretrain: as in `PromptConfig`.
        test, fold, folds, group: how cases are split, as in `CohortConfig`.
        params, depth: trainable parameters (met within 3 % by solving the width) and layers.
        seed: of initialisation, order and prompts.
        training: optimiser settings, device and precision.

    Raises:
        ConfigError: an option is out of range.
    """

    domain: ClassVar[str] = "medical"
    task: ClassVar[Task] = Prompt()

    def __init__(
        self,
        mixer: str = "attention",
        *,
        prompt: PromptKind = _DEFAULT.prompt,
        jitter: float = _DEFAULT.jitter,
        planes: int = _DEFAULT.planes,
        smallest: int = _DEFAULT.smallest,
        prompt_seed: int = _DEFAULT.prompt_seed,
        side: int = _DEFAULT.side,
        vit: tuple[int, ...] = _DEFAULT.vit,
        sam: Path | None = _DEFAULT.sam,
        pretrain: int = _DEFAULT.pretrain,
        test: str = _DEFAULT.test,
        fold: int = _DEFAULT.fold,
        folds: int = _DEFAULT.folds,
        group: str = _DEFAULT.group,
        params: int = 400_000,
        depth: int = 1,
        seed: int = 0,
        training: Training | None = None,
    ) -> None:
        config = PromptConfig(
            prompt=prompt,
            jitter=jitter,
            planes=planes,
            smallest=smallest,
            prompt_seed=prompt_seed,
            side=side,
            vit=vit,
            sam=sam,
            pretrain=pretrain,
            test=test,
            fold=fold,
            folds=folds,
            group=group,
        )
        super().__init__(config, mixer, params=params, depth=depth, seed=seed, training=training)

    def fit(self, source: str | Path, *, budget: str = "1m", progress: bool = True) -> Self:
        """Train on a folder of cases, or `"sample"`; a budget is a time (`"90s"`, `"2m"`) or steps (`"300"`).

        Raises:
            DataError: the data is refused.
            ConfigError: unknown mixer, or no such budget.
            SizeError: the parameters cannot be met.
        """
        self._fit(self.task.read(source, self.config), source, budget=budget, progress=progress)
        return self

    def evaluate(self, source: str | Path | None = None) -> dict[str, dict[str, float]]:
        """Return the test scores of the network and then of the floors, by name.

        Args:
            source: other data, which is split as the training data was.

        Raises:
            ConfigError: nothing was fitted, or a loaded network was given no data.
            DataError: `source` is refused.
        """
        return self._scores(None if source is None else self.task.read(source, self._ready().config))

    def predict(self, image: Picture | Sequence[Picture], **prompt: Any) -> np.ndarray:
        """Return the mask of `ask`."""
        return self.ask(image, **prompt).mask

    def ask(
        self,
        image: Picture | Sequence[Picture],
        *,
        box: Sequence[float] | None = None,
        points: Sequence[Sequence[float]] | None = None,
        marks: Sequence[int] | None = None,
        plane: int | None = None,
    ) -> Answer:
        """Return what a prompt selects; give a box or points, of the kind that the network was trained with.

        Args:
            image: a plane or volume, or a list of them with a channel each.
            box: x0, y0, x1, y1, the first and last voxel along the first two axes of the file.
            points: x, y each; the network was trained with one.
            marks: for each point 1 on the object, 0 around it; 1 by default.
            plane: of a volume, which voxel along the third axis.

        Raises:
            ConfigError: nothing was fitted, or the prompt is none, of another kind, or outside the image.
            DataError: the image is refused.
        """
        volume = _volume(image)  # (C, X, Y, Z)
        depth = volume.shape[3]
        if plane is None and depth > 1:
            raise ConfigError(f"expected a plane from 0 to {depth - 1} along the third axis of a volume, got none")
        plane = plane or 0
        if not 0 <= plane < depth:
            raise ConfigError(f"expected a plane from 0 to {depth - 1}, got {plane}")
        asked = Ask("image", plane, 1, normalized(volume[..., plane]), None, **_prompt(box, points, marks))
        _check_inside(asked)
        answer = self._predict(Prompts((asked,), {}, ("background", "object"), (0, 1)))
        mask = np.zeros(volume.shape[1:], dtype=bool)
        mask[..., plane] = answer.masks[0]
        return Answer(mask[..., 0] if _is_flat(image) else mask, float(answer.quality[0]))


def _volume(image: Picture | Sequence[Picture]) -> np.ndarray:
    channels = [_array(part) for part in (image if isinstance(image, (list, tuple)) else [image])]
    if len({channel.shape for channel in channels}) != 1:
        raise DataError("expected channels of one shape, got " + ", ".join(str(channel.shape) for channel in channels))
    return np.stack(channels)


def _array(picture: Any) -> np.ndarray:
    """Return `(X, Y, Z)` float32."""
    array = read_image(picture).array if isinstance(picture, (str, Path)) else np.asarray(picture)
    if array.ndim not in (2, 3) or 0 in array.shape or array.dtype.kind not in "biuf":
        raise DataError(f"expected a plane (X, Y) or a volume (X, Y, Z) of numbers, got {array.dtype} {array.shape}")
    if not np.isfinite(array).all():
        raise DataError("expected finite intensities, got NaN or infinite ones; replace them first")
    return array.astype(np.float32).reshape(*array.shape, *(1,) * (3 - array.ndim))


def _is_flat(image: Picture | Sequence[Picture]) -> bool:
    first = image[0] if isinstance(image, (list, tuple)) else image
    return isinstance(first, np.ndarray) and first.ndim == 2


def _prompt(
    box: Sequence[float] | None, points: Sequence[Sequence[float]] | None, marks: Sequence[int] | None
) -> dict[str, np.ndarray]:
    """Return the fields of an ask that hold its prompt."""
    if (box is None) == (points is None):
        raise ConfigError("expected either a box or points, not both and not neither")
    if box is not None:
        corners = np.asarray(box, dtype=np.float64)
        if corners.shape != (4,) or not np.isfinite(corners).all() or not (corners[:2] <= corners[2:]).all():
            raise ConfigError(f"expected a box as x0, y0, x1, y1 with x0 <= x1 and y0 <= y1, got {box}")
        return {"box": corners}
    places = np.asarray(points, dtype=np.float64)
    if places.ndim != 2 or places.shape[1] != 2 or not len(places) or not np.isfinite(places).all():
        raise ConfigError(f"expected points as pairs of x, y; got {points}")
    told = np.ones(len(places), np.int64) if marks is None else np.asarray(marks, dtype=np.int64)
    if told.shape != (len(places),) or not set(told.tolist()) <= {0, 1} or 1 not in told:
        raise ConfigError(f"expected a mark of 1 or 0 for each of the {len(places)} points, one of them 1; got {marks}")
    return {"points": places, "marks": told}


def _check_inside(ask: Ask) -> None:
    places = ask.box.reshape(2, 2) if ask.box is not None else ask.points
    assert places is not None
    last = np.array(ask.shape) - 1
    if (places.max(0) < 0).any() or (places.min(0) > last).any() or (ask.box is None and (places > last).any()):
        raise ConfigError(f"expected a prompt within the plane of {ask.shape[0]}x{ask.shape[1]} voxels, got {places}")
