"""Segment volumes from Python: `Segmenter().fit("Task04_Hippocampus").predict("ct.nii.gz")`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from omniform.estimator import NetworkPredictor
from omniform.learner import Learner
from omniform.training.config import Training
from omniform_medical.config import ModelName, SegmentConfig
from omniform_medical.quality import Quality
from omniform_medical.segmentation import Segmentation, Segmentations
from omniform_medical.task import Segment

__all__ = ["Segmenter"]


class Segmenter(Learner[SegmentConfig]):
    """A segmentation network for the cases of one data set, planned from the data.

    Args:
        mixer: the id of a token mixer; `omniform zoo --kind token-mixer` lists them.
        model: the network around it.
        loss: Dice and cross-entropy, or region-specific Tversky.
        spacing, patch, stages, normalization: of the plan; what is left out is planned from training cases.
        memory: that training may take, such as `"4G"`; patch and batch are planned by it.
        mirror: axes along which training and prediction mirror, such as `"xy"`.
        params, depth: trainable parameters (met within 3 % by solving the width) and layers of a level.
        seed: of initialisation, patches and their order.
        training: optimiser settings, device and precision.
    """

    domain = "medical"
    task = Segment()

    def __init__(
        self,
        mixer: str = "attention",
        *,
        model: ModelName = "unet",
        loss: Literal["dice-ce", "tversky"] = "dice-ce",
        spacing: Sequence[float] = (),
        patch: Sequence[int] = (),
        stages: int = 0,
        normalization: Sequence[str] = (),
        memory: str = "4G",
        mirror: str = "",
        params: int = 700_000,
        depth: int = 2,
        seed: int = 0,
        training: Training | None = None,
    ) -> None:
        config = SegmentConfig(
            model=model,
            loss=loss,
            spacing=tuple(spacing),
            patch=tuple(patch),
            stages=stages,
            normalization=tuple(normalization),
            memory=memory,
            mirror=mirror,
        )
        super().__init__(config, mixer, params=params, depth=depth, seed=seed, training=training)

    def fit(
        self, folder: str | Path, *, test: str = "0.2", fold: int = 0, budget: str = "10m", progress: bool = True
    ) -> Self:
        """Check a data set, plan, and train; the cases to test on and those to validate on are left out.

        Args:
            folder: in the layout of the Medical Segmentation Decathlon or nnU-Net, or with `images` and `labels`; or
                `"sample"`.
            test: cases to test on, as the command line's `--test`.
            fold: which of five parts of the others validates.
            budget: `"10m"`, `"2h"`, or a number of steps such as `"1000"`.

        Raises:
            DataError: a case cannot be read, or image and label do not lie on one grid.
            ConfigError: an option is refused.
            SizeError: the parameters cannot be met.
        """
        self.config = replace(self.config, test=test, fold=fold)
        data = self.task.read(folder, self.config)
        self.config = self._fit(data, folder, budget=budget, progress=progress)
        return self

    def evaluate(self, folder: str | Path | None = None) -> dict[str, dict[str, float]]:
        """Return the test scores of the network and the floors by name.

        Args:
            folder: a labelled data set, whose test part is scored; `None` for the one trained on.
        """
        return self._scores(None if folder is None else self.task.read(folder, self.config))

    def predict(self, source: str | Path) -> Segmentation:
        """Segment one case: a file, a DICOM folder or an archive.

        Raises:
            DataError: it cannot be read, or holds several cases.
        """
        (segmentation,) = self.segment([source]).cases
        return segmentation

    def segment(self, sources: Sequence[str | Path]) -> Segmentations:
        """Segment every case of files and folders.

        Raises:
            ConfigError: nothing was fitted.
            DataError: a file cannot be read, or has other channels than were trained on.
        """
        self._ready()
        told = [self._predict(self.task.predictor_items(source, self.config)) for source in sources]
        cases = [case for each in told for case in each.cases]
        return replace(told[0], cases=cases, quality=self._quality())

    def _quality(self) -> Quality | None:
        """Return what validation said of the network's confidence; an ONNX file does not know."""
        predictor = self._ready().predictor
        if not isinstance(predictor, NetworkPredictor):
            return None
        return Quality.of_rows(predictor.model.get_buffer("quality").cpu().numpy())
