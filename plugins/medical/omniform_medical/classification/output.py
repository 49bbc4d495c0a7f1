"""Predicted classes as a table, and heat maps as pictures."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from omniform.classification import Predictions
from omniform.training.checkpoint import replace_file

__all__ = ["prediction_rows", "write_heat_maps", "write_predictions"]


def prediction_rows(predictions: Predictions) -> list[dict[str, Any]]:
    """Return a row a picture: file, class (the likeliest) and `probability_CLASS` for each class."""
    columns = [f"probability_{name}" for name in predictions.classes]
    return [
        {"file": name, "class": label, **dict(zip(columns, chances.tolist(), strict=True))}
        for name, label, chances in zip(
            predictions.items.names, predictions.labels, predictions.probabilities, strict=True
        )
    ]


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write `prediction_rows` as CSV in UTF-8: the whole file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = ["file", "class", *(f"probability_{name}" for name in predictions.classes)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(prediction_rows(predictions))
    replace_file(path, text.getvalue().encode())


def write_heat_maps(predictions: Predictions, heat: np.ndarray, folder: Path) -> None:
    """Write `FOLDER/FILE.png` for each picture: the picture, and beside it the same under its heat map `(H, W)`."""
    from omniform.plots import png
    from omniform_medical.classification.figures import heat_figure

    for place, (name, label) in enumerate(zip(predictions.items.names, predictions.labels, strict=True)):
        chance = predictions.probabilities[place].max()
        figure = heat_figure(predictions.items.pixels[place], heat[place], f"{label} ({chance:.0%})")
        path = folder / f"{name}.png"
        replace_file(path, png(figure))
