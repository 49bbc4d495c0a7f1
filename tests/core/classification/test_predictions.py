"""Probabilities and the truth, counted by hand."""

from dataclasses import dataclass

import numpy as np
import pytest

from omniform.classification import Predictions, confusion, representative
from omniform.classification.figures import confusion_figure, shorten


@dataclass
class Cases:
    labels: tuple[str, ...]

    def __len__(self):
        return len(self.labels)

    def targets(self, classes):
        return np.array([classes.index(label) for label in self.labels])


CASES = Cases(("a", "b", "a", "b"))
TOLD = Predictions(np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]]), ("a", "b"), CASES)


def test_who_is_taken_for_whom():
    assert TOLD.labels == ("a", "b", "b", "b")
    assert confusion(TOLD, CASES).tolist() == [[1, 1], [0, 2]]


def test_representatives_go_from_the_surest_to_the_least_sure():
    assert representative({"one": TOLD}, CASES, 4) == [0, 1, 3, 2]
    assert representative({"one": TOLD}, CASES, 2) == [0, 2]


def test_probabilities_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="expected probabilities of shape"):
        Predictions(np.ones((3, 2)), ("a", "b"), CASES)


def test_the_figure_draws_every_predictor():
    told = confusion_figure({"one": TOLD, "two $": TOLD}, CASES, what="cases")
    assert told.name == "confusion"
    assert told.caption.startswith("Cases of each class")
    titles = [axis.get_title(loc="left") for axis in told.figure.axes]
    assert titles[0] == "one: 0.750 right"
    told.figure.canvas.draw()


def test_labels_are_cut_and_hold_no_formulas():
    assert shorten("x" * 30, 5) == "xxxx…"
    assert shorten("$a$") == r"\$a\$"
