"""Simple classifiers that every network stands beside."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from omniform.classification import Predictions
from omniform.task import Floor, Splits
from omniform_medical.classification.album import Album
from omniform_medical.classification.descriptors import Descriptors
from omniform_medical.classification.splitting import classes_of

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = ["FLOORS", "Descriptive", "Prior"]

_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # C, the inverse of the penalty


@dataclass(frozen=True, slots=True, eq=False)
class DescriptivePredictor:
    """Descriptors and the logistic regression that was fitted to them."""

    descriptors: Descriptors
    regression: Pipeline
    classes: tuple[str, ...]

    def predict(self, items: Album) -> Predictions:
        chances = self.regression.predict_proba(self.descriptors.apply(items))
        return Predictions(np.asarray(chances, dtype=np.float64), self.classes, items)


@dataclass(frozen=True, slots=True)
class Descriptive:
    """Multinomial logistic regression on a thumbnail, an intensity histogram and gradient histograms.

    Descriptors are standardised; of four penalties the one with the least log loss on validation is taken.
    """

    def fit(self, splits: Splits[Album], *, seed: int) -> DescriptivePredictor:
        classes, descriptors = classes_of(splits.train), Descriptors.of(splits.train)
        x, y = descriptors.apply(splits.train), splits.train.targets(classes)
        checked, truth = descriptors.apply(splits.validation), splits.validation.targets(classes)
        fitted = [_fit(x, y, strength) for strength in _STRENGTHS]
        rows = np.arange(len(truth))
        losses = [-np.log(np.clip(f.predict_proba(checked)[rows, truth], 1e-6, 1)).mean() for f in fitted]
        return DescriptivePredictor(descriptors, fitted[int(np.argmin(losses))], classes)


@dataclass(frozen=True, slots=True, eq=False)
class PriorPredictor:
    """The share of each class."""

    shares: np.ndarray
    classes: tuple[str, ...]

    def predict(self, items: Album) -> Predictions:
        return Predictions(np.tile(self.shares, (len(items), 1)), self.classes, items)


@dataclass(frozen=True, slots=True)
class Prior:
    """Say of every picture how frequent the classes are in training, whatever it shows."""

    def fit(self, splits: Splits[Album], *, seed: int) -> PriorPredictor:
        classes = classes_of(splits.train)
        count = np.bincount(splits.train.targets(classes), minlength=len(classes))
        return PriorPredictor(count / count.sum(), classes)


FLOORS = (
    Floor(
        name="descriptors",
        summary="logistic regression on a thumbnail, intensities and gradients",
        estimator=Descriptive(),
    ),
    Floor(name="prior", summary="how frequent each class is", estimator=Prior()),
)


def _fit(x: np.ndarray, y: np.ndarray, strength: float) -> Pipeline:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what is left then is below what validation can tell
        return regression.fit(x, y)
