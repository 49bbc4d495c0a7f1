"""Predictions as a file of pairs, which the task reads back."""

from __future__ import annotations

import json
from pathlib import Path

from omniform.training.checkpoint import replace_file
from omniform_codegen.recursion.predictions import Predictions

__all__ = ["write_predictions"]


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write a JSON line for each example, `input` and `output` in tokens: the whole file or none of it."""
    pairs = zip(predictions.items.examples, predictions.outputs, strict=True)
    rows = [json.dumps({"input": " ".join(example.input), "output": " ".join(said)}) for example, said in pairs]
    replace_file(path, "".join(row + "\n" for row in rows).encode())
