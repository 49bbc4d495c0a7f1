"""Small labelled pictures made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omniform_medical.classification.album import Album


@pytest.fixture
def needs_sample() -> None:
    pytest.importorskip("nilearn")


@pytest.fixture(scope="session")
def make_album():
    """Return a function that makes noisy pictures whose class is the direction of their stripes."""

    def make(count: int = 45, *, image=(16, 12), channels: int = 1, patients: bool = False, parts=None) -> Album:
        rng = np.random.default_rng(0)
        names = ("across", "down", "slanted")
        labels = tuple(names[i % 3] for i in range(count))
        y, x = np.mgrid[: image[0], : image[1]]
        waves = {"across": y, "down": x, "slanted": x + y}
        pixels = np.stack([np.sin(1.6 * waves[label] + rng.uniform(0, 6)) for label in labels])[..., None]
        pixels = 127 + 60 * pixels + 20 * rng.standard_normal((*pixels.shape[:3], channels))
        return Album(
            np.clip(pixels, 0, 255).astype(np.uint8),
            tuple(f"k{i:03d}.png" for i in range(count)),
            labels,
            ("",) * count if parts is None else tuple(parts),
            tuple(f"p{i // 3}" for i in range(count)) if patients else None,
        )

    return make


@pytest.fixture(scope="session")
def write_album():
    """Return a function that writes an album as PNG in class folders; `parts` puts them into train/ and test/."""

    def write(album: Album, folder: Path) -> Path:
        for pixels, name, label, part in zip(album.pixels, album.names, album.known_labels(), album.parts, strict=True):
            place = folder / part / label
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[..., 0] if album.channels == 1 else pixels).save(place / name)
        return folder

    return write
