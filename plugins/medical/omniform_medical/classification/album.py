"""Labelled pictures of one size.

N = pictures, H, W = height and width, C = channels
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["Album", "Part"]

Part = Literal["", "train", "validation", "test"]
"""Where a data set itself puts a picture; empty where it leaves that open."""


@dataclass(frozen=True, slots=True, eq=False)
class Album:
    """Pictures with what is known of them.

    Attributes:
        pixels: `(N, H, W, C)` uint8 or float32, read-only; 1 channel is grey, 3 are red, green and blue.
        names: N different names, those of files below the folder that was read.
        labels: the class of each, or `None` for new pictures without labels.
        parts: the part that the data set itself puts each in.
        patients: whose picture each is, or `None` where that is not known.
    """

    pixels: np.ndarray
    names: tuple[str, ...]
    labels: tuple[str, ...] | None
    parts: tuple[Part, ...]
    patients: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self.pixels.setflags(write=False)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def image(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[1], self.pixels.shape[2]

    @property
    def channels(self) -> int:
        return self.pixels.shape[3]

    def known_labels(self) -> tuple[str, ...]:
        """Return the labels.

        Raises:
            ValueError: there are none.
        """
        if self.labels is None:
            raise ValueError("expected labelled pictures")
        return self.labels

    def targets(self, classes: tuple[str, ...]) -> np.ndarray:
        """Return the index of each label among `classes`, `(N,)`."""
        place = {name: index for index, name in enumerate(classes)}
        return np.array([place[label] for label in self.known_labels()], dtype=np.int64)

    def groups(self) -> np.ndarray | None:
        """Return the number of each picture's patient, `(N,)`, or `None` where that is not known."""
        return None if self.patients is None else np.unique(np.array(self.patients), return_inverse=True)[1]

    def take(self, pictures: Iterable[int]) -> Album:
        """Return some pictures, in the order asked for."""
        index = [int(picture) for picture in pictures]
        labels = None if self.labels is None else tuple(self.labels[i] for i in index)
        patients = None if self.patients is None else tuple(self.patients[i] for i in index)
        names = tuple(self.names[i] for i in index)
        return Album(self.pixels[index], names, labels, tuple(self.parts[i] for i in index), patients)

    def fingerprint(self) -> str:
        """Return a SHA-256 of names, labels, parts, patients and pixels."""
        told = (self.names, self.labels, self.parts, self.patients, self.pixels.shape, self.pixels.dtype.str)
        digest = hashlib.sha256(repr(told).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()
