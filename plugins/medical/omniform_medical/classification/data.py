"""What can be read as pictures: folders, MedMNIST archives, tables, files, arrays and the embedded sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from omniform.errors import ConfigError, DataError
from omniform_medical.classification.album import Album
from omniform_medical.classification.archive import is_archive, read_archive
from omniform_medical.classification.config import ClassifyConfig
from omniform_medical.classification.folder import list_files, list_folder, list_table, read_entries
from omniform_medical.classification.picture import SUFFIXES, resized
from omniform_medical.classification.sample import sample_album

__all__ = ["Source", "album_of_arrays", "read_album"]

Source = str | Path | np.ndarray | Sequence[str | Path]


def read_album(source: Source, config: ClassifyConfig, *, labelled: bool = True) -> Album:
    """Read `"sample"`, a folder, an `.npz` or `.csv` file, pictures, or an array `(N, H, W)` or `(N, H, W, C)`.

    Args:
        labelled: refuse pictures without labels.

    Raises:
        ConfigError: patients are to be found in names, and there are none.
        DataError: `folder`, `archive` and `picture` state the rules.
    """
    if config.group and not _has_names(source):
        raise ConfigError("group finds patients in the names of files, which this source has none of; leave it out")
    album = _read(source, config)
    if labelled and album.labels is None:
        raise DataError("the pictures have no labels; expected folders train/CLASS/, CLASS/, or a CSV with file,label")
    return album


def album_of_arrays(arrays: np.ndarray, config: ClassifyConfig) -> Album:
    """Return pictures without labels, called by their number.

    Raises:
        DataError: the array is no `(N, H, W)` or `(N, H, W, C)` of finite numbers, with the channels of `config`.
    """
    pixels = arrays[..., None] if arrays.ndim == 3 else arrays
    channels = config.channels or pixels.shape[-1]
    if pixels.ndim != 4 or pixels.shape[3] != channels or channels not in (1, 3) or 0 in pixels.shape:
        raise DataError(f"expected an array (N, H, W) or (N, H, W, C), C being {channels}; got {arrays.shape}")
    if pixels.dtype.kind not in "uif" or not np.isfinite(pixels).all():
        raise DataError(f"expected finite numbers in every pixel, got an array of {arrays.dtype}")
    pixels = pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)
    size = config.image or pixels.shape[1:3]
    pixels = np.stack([resized(picture, (size[0], size[1])) for picture in pixels])
    return Album(pixels, tuple(map(str, range(len(pixels)))), None, ("",) * len(pixels))


def _has_names(source: Source) -> bool:
    if isinstance(source, str | Path):
        return str(source) != "sample" and not is_archive(Path(source))
    return not isinstance(source, np.ndarray)


def _read(source: Source, config: ClassifyConfig) -> Album:
    if isinstance(source, np.ndarray):
        return album_of_arrays(source, config)
    if not isinstance(source, str | Path):
        return read_entries(list_files([Path(path) for path in source]), config)
    if str(source) == "sample":
        return _fitted(sample_album(), config)
    path = Path(source)
    if path.is_dir():
        return read_entries(list_folder(path), config)
    if not path.is_file():
        raise DataError(f"no file or folder {path.name!r} where one was expected; check the path")
    if is_archive(path):
        return read_archive(path, config)
    if path.suffix.lower() == ".csv":
        return read_entries(list_table(path), config)
    if path.suffix.lower() in SUFFIXES:
        return read_entries(list_files([path]), config)
    raise DataError(f"{path.name!r} is no folder, .npz, .csv or picture ({', '.join(SUFFIXES)}); expected one of these")


def _fitted(album: Album, config: ClassifyConfig) -> Album:
    """Return the grey sample in the size and with the channels that are asked for."""
    height, width = config.image or album.image
    pixels = np.stack([resized(picture, (height, width)) for picture in album.pixels])
    return replace(album, pixels=np.repeat(pixels, config.channels or 1, axis=3))
