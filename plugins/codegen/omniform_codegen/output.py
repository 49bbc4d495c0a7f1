"""Write predictions: a table of how well each file is known, and what would fill its gaps."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from omniform.training.checkpoint import replace_file
from omniform_codegen.predictions import Predictions

__all__ = ["write_predictions"]


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write a row a file as CSV in UTF-8: its path, bytes, bits and bits per byte; the whole file or none of it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "bytes", "bits", "bits_per_byte"])
    for file, bits in zip(predictions.items.files, predictions.bits.tolist(), strict=True):
        size = len(file.content)
        writer.writerow([file.path, size, f"{bits:.1f}", f"{bits / size:.4f}" if size else ""])
    replace_file(path, text.getvalue().encode())
