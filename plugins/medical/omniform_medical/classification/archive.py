"""MedMNIST's `.npz` files: `train_images`, `train_labels`, and the same for `val` and `test`.

| what | rule |
| --- | --- |
| images | `(N, H, W)` or `(N, H, W, 3)`, uint8; volumes are refused |
| labels | `(N, 1)` or `(N,)` whole numbers; several labels a picture are refused |
| size | as the headers tell, checked before anything is unpacked: 4 GB in all |
| pickled objects | refused |
"""

from __future__ import annotations

import zipfile
import zlib
from math import prod
from pathlib import Path

import numpy as np

from omniform.errors import DataError
from omniform_medical.classification.album import Album, Part
from omniform_medical.classification.config import ClassifyConfig
from omniform_medical.classification.folder import usual_size
from omniform_medical.classification.picture import resized

__all__ = ["is_archive", "read_archive"]

_PARTS: tuple[tuple[str, Part], ...] = (("train", "train"), ("val", "validation"), ("test", "test"))
_MAX_BYTES = 4_000_000_000
_HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def is_archive(path: Path) -> bool:
    """Say whether a path is to be read as `.npz`, by its name."""
    return path.suffix.lower() == ".npz"


def read_archive(path: Path, config: ClassifyConfig) -> Album:
    """Read one file; pictures are called by part and number, classes by their number.

    Raises:
        DataError: a rule above refuses the file.
    """
    try:
        _check_headers(path)
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files if name.endswith(("_images", "_labels"))}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path.name!r} cannot be read as .npz ({_reason(error)}); fetch it again") from None
    pixels, labels, names, parts = [], [], [], []
    for prefix, part in _PARTS:
        if f"{prefix}_images" not in found:
            continue
        images = _images(path, prefix, found[f"{prefix}_images"])
        pixels.append(images)
        labels += _labels(path, prefix, found.get(f"{prefix}_labels"), len(images))
        names += [f"{prefix}-{number}" for number in range(len(images))]
        parts += [part] * len(images)
    if not pixels:
        raise DataError(f"{path.name!r} holds {', '.join(found) or 'nothing'}; expected train_images and train_labels")
    if len({images.shape[1:] for images in pixels}) > 1:
        raise DataError(f"{path.name!r} has pictures of different sizes in its parts; expected one size")
    whole = np.concatenate(pixels)
    size = config.image or usual_size([whole.shape[1:3]])
    whole = _coloured(whole, config.channels or whole.shape[3])
    if whole.shape[1:3] != size:
        whole = np.stack([resized(picture, (size[0], size[1])) for picture in whole])
    return Album(whole, tuple(names), tuple(labels), tuple(parts))


def _check_headers(path: Path) -> None:
    """Refuse a file whose members would unpack to more than they should, by their headers alone."""
    total = 0
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                if version not in _HEADER_READERS:
                    raise DataError(f"{path.name!r}: {member.filename!r} is no array of a known version")
                shape, _, dtype = _HEADER_READERS[version](file)
                if dtype.hasobject:
                    raise DataError(f"{path.name!r}: {member.filename!r} holds pickled objects, which are never read")
                told, packed = prod(shape) * dtype.itemsize, member.file_size - file.tell()
            if told != packed:
                raise DataError(f"{path.name!r}: {member.filename!r} says {told} bytes and holds {packed}; is it cut?")
            total += told
            if total > _MAX_BYTES:
                raise DataError(f"{path.name!r} would unpack to over {_MAX_BYTES:,} bytes; expected less")


def _images(path: Path, part: str, images: np.ndarray) -> np.ndarray:
    """Return `(N, H, W, C)`."""
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise DataError(
            f"{path.name!r}: {part}_images of shape {images.shape}; expected planes (N, H, W) or (N, H, W, 3)"
        )
    if images.dtype != np.uint8:
        raise DataError(f"{path.name!r}: {part}_images of type {images.dtype}; expected uint8")
    return images


def _labels(path: Path, part: str, labels: np.ndarray | None, count: int) -> list[str]:
    if labels is None:
        raise DataError(f"{path.name!r} has {part}_images and no {part}_labels; expected both")
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.shape != (count,) or flat.dtype.kind not in "iu":
        raise DataError(
            f"{path.name!r}: {part}_labels of shape {labels.shape} and type {labels.dtype} for {count} pictures; "
            "expected one whole number each"
        )
    width = len(str(int(flat.max())))  # so that names sort as numbers do
    return [f"{label:0{width}d}" for label in flat.tolist()]


def _coloured(pixels: np.ndarray, channels: int) -> np.ndarray:
    if pixels.shape[3] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=3)
    return np.rint(pixels @ np.array([0.299, 0.587, 0.114]))[..., None].astype(np.uint8)  # as Pillow's L


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:80].rstrip(".")
