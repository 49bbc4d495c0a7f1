"""Classification of pictures in a few lines: a folder in, classes and heat maps out, the floors beside every score."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from omniform.classification import Predictions
from omniform.configuration import split_names
from omniform.errors import ConfigError
from omniform.learner import Learner
from omniform.task import Splits, Task
from omniform.training.config import Training
from omniform_medical.classification.album import Album
from omniform_medical.classification.config import ClassifyConfig, ClassWeights, Flip, MetricName, ModelName
from omniform_medical.classification.data import Source
from omniform_medical.classification.output import prediction_rows
from omniform_medical.classification.task import Classify

__all__ = ["ImageClassifier"]

_DEFAULT = ClassifyConfig()


class ImageClassifier(Learner[ClassifyConfig]):
    """Classify pictures with one network.

    What is trained on is a folder of class folders (with `train/` and `test/` or without), a MedMNIST `.npz`, a CSV
    with the columns file, label and patient, or `"sample"`; the rules for what is broken are those of
    `classification.picture`, `classification.folder` and `classification.archive`. Parts that the data names are kept;
    others are drawn: 70 % to train, 10 % to choose the best moment, 20 % for `evaluate`.

    Args:
        mixer: the id of a token mixer; `omniform zoo --kind token-mixer` lists them.
        model: the network around the mixer.
        metric, split, split_seed, group, image, channels, keep, flip, shift, brightness, class_weights, dropout: as in
            `ClassifyConfig`.
        params, depth: trainable parameters (met within 3 % by solving the width) and layers.
        seed: of initialisation, order and dropout.
        training: optimiser settings, device and precision.

    Raises:
        ConfigError: an option is out of range.
    """

    domain: ClassVar[str] = "medical"
    task: ClassVar[Task[Any, Any]] = Classify()

    def __init__(
        self,
        mixer: str = "attention",
        *,
        model: ModelName = _DEFAULT.model,
        metric: MetricName = _DEFAULT.metric,
        split: str = _DEFAULT.split,
        split_seed: int = _DEFAULT.split_seed,
        group: str = _DEFAULT.group,
        image: tuple[int, int] | None = None,
        channels: int | None = _DEFAULT.channels,
        keep: float = _DEFAULT.keep,
        flip: Flip = _DEFAULT.flip,
        shift: float = _DEFAULT.shift,
        brightness: float = _DEFAULT.brightness,
        class_weights: ClassWeights = _DEFAULT.class_weights,
        dropout: float = _DEFAULT.dropout,
        params: int = 200_000,
        depth: int = 2,
        seed: int = 0,
        training: Training | None = None,
    ) -> None:
        config = ClassifyConfig(
            model=model,
            metric=metric,
            split=split,
            split_seed=split_seed,
            group=group,
            image=image or (),
            channels=channels,
            keep=keep,
            flip=flip,
            shift=shift,
            brightness=brightness,
            class_weights=class_weights,
            dropout=dropout,
        )
        super().__init__(config, mixer, params=params, depth=depth, seed=seed, training=training)

    def fit(self, data: Source, *, budget: str = "1m", progress: bool = True) -> Self:
        """Train on a folder, a file or `"sample"`; a budget is a time (`"90s"`, `"2m"`) or steps (`"300"`).

        Raises:
            DataError: the data is refused.
            ConfigError: unknown mixer, or no such budget.
            SizeError: the parameters cannot be met.
        """
        self._fit(self._read(data), data, budget=budget, progress=progress)
        return self

    def evaluate(self, data: Source | None = None) -> dict[str, dict[str, float]]:
        """Return the test scores of the network and, behind it, of the floors, fitted to the same data.

        Args:
            data: other data, which is split as the training data was.

        Raises:
            ConfigError: nothing was fitted, or a loaded network was given no data.
            DataError: `data` is refused.
        """
        config = self._ready().config
        return self._scores(None if data is None else self.task.read(data, config))  # pyright: ignore[reportArgumentType]

    def predict(self, pictures: Source) -> list[dict[str, Any]]:
        """Return a row a picture: file, class, and `probability_CLASS` for each class.

        Args:
            pictures: a file or several, a folder, a table, or an array `(N, H, W)` or `(N, H, W, C)`. Labels, if there
                are any, are not read.

        Raises:
            ConfigError: nothing was fitted.
            DataError: a picture is refused.
        """
        return prediction_rows(self.predictions(pictures))

    def predictions(self, pictures: Source) -> Predictions:
        """Return what `predict` does as one object, the pictures as the network saw them included."""
        return self._predict(self._items(pictures))

    def explain(self, pictures: Source, *, label: str | None = None) -> np.ndarray:
        """Return heat maps `(N, H, W)` from 0 to 1 on the network's own pixels: where it looked for a class.

        Args:
            label: the class to look for; that which the network predicts by default.

        Raises:
            ConfigError: nothing was fitted, an ONNX file was loaded, or no class is called so.
            DataError: a picture is refused.
        """
        return self.explained(self.predictions(pictures), label=label)

    def explained(self, told: Predictions, *, label: str | None = None) -> np.ndarray:
        """Return the heat maps of pictures that `predictions` returned."""
        import torch

        from omniform_medical.classification.gradcam import grad_cam
        from omniform_medical.classification.models import Classifier
        from omniform_medical.classification.network import PictureDataset, standardised

        names = split_names(self._ready().config.classes or "")
        if label is not None and label not in names:
            raise ConfigError(f"no class {label!r}; expected one of {', '.join(names)}")
        model = getattr(self._predictor(Splits(told.items, told.items, told.items)), "model", None)
        if not isinstance(model, Classifier):
            raise ConfigError("an exported file has no gradients to draw a heat map from; load the run folder instead")
        wanted = told.best if label is None else np.full(len(told.items), names.index(label))
        dataset = PictureDataset(told.items, classes=names)
        device = model.get_buffer("center").device
        maps = []
        for rows in torch.arange(len(dataset)).split(self.training.batch_items):
            pictures = torch.stack([picture for picture, _ in dataset.__getitems__(rows.tolist())]).to(device)
            classes = torch.from_numpy(wanted)[rows].to(device)
            maps.append(grad_cam(model.eval(), standardised(model, pictures), classes).cpu())
        return torch.cat(maps).numpy()

    def _read(self, data: Source) -> Album:
        return Classify().read(data, self.config)

    def _items(self, pictures: Source) -> Album:
        return Classify().predictor_items(pictures, self._ready().config)
