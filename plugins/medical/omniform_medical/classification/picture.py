"""One picture file: checked by its header, decoded, and reduced to the size that a network sees.

| what | rule |
| --- | --- |
| formats | PNG, JPEG, BMP, TIFF, by content |
| orientation in EXIF | applied; everything else of it is dropped |
| several frames | refused |
| more than 100 million pixels, as the header says | refused before anything is decoded |
| palette, black and white, CMYK, transparency | made grey or RGB; what is transparent shows the colour beneath |
| 16-bit and floating-point grey | kept as float32; NaN and infinities are refused |
| truncated or broken | refused |
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from omniform.errors import DataError

__all__ = ["SUFFIXES", "Header", "read_header", "read_picture", "resized"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_MAX_PIXELS = 100_000_000
_GREY = ("1", "L", "LA", "La")
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of a picture says: height, width, whether it is grey, whether it has more than 8 bits."""

    height: int
    width: int
    grey: bool
    deep: bool


def read_header(path: Path) -> Header:
    """Read what a file says of itself, without decoding it.

    Raises:
        DataError: a rule above refuses the file.
    """
    with _opened(path) as picture:
        width, height = picture.size
        if picture.getexif().get(0x0112, 1) in (5, 6, 7, 8):  # the orientations that lie on their side
            width, height = height, width
        grey = picture.mode in _GREY or picture.mode in _DEEP
        return Header(height, width, grey, picture.mode in _DEEP)


def read_picture(path: Path, *, size: tuple[int, int], channels: int) -> np.ndarray:
    """Read a file as `(H, W, C)`: uint8, or float32 where it has more than 8 bits.

    Raises:
        DataError: a rule above refuses the file.
    """
    with _opened(path) as picture:
        deep = picture.mode in _DEEP
        upright = ImageOps.exif_transpose(picture)
        if deep:
            array = np.asarray(upright).astype(np.float32)[..., None]
            array = np.repeat(array, channels, axis=2)
        else:
            array = np.asarray(upright.convert("RGB").convert("L" if channels == 1 else "RGB"))
            array = array.reshape(*array.shape[:2], channels)
    if deep and not np.isfinite(array).all():
        raise DataError(f"{path.name!r} has values that are not finite; expected numbers in every pixel")
    return resized(array, size)


def resized(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Interpolate `(H, W, C)` to another height and width; what gets smaller is averaged, so that nothing aliases."""
    if array.shape[:2] == size:
        return np.ascontiguousarray(array)
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(array, 2, 0)]
    height, width = size
    return np.stack([np.asarray(p.resize((width, height), Image.Resampling.BILINEAR)) for p in planes], axis=2)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tags that are odd; sizes are checked below
            with Image.open(path, formats=_FORMATS) as picture:
                width, height = picture.size
                if width * height > _MAX_PIXELS:
                    raise DataError(
                        f"{path.name!r} says it has {width} x {height} pixels; expected at most {_MAX_PIXELS:,}: "
                        "cut or reduce it"
                    )
                if getattr(picture, "n_frames", 1) > 1:
                    raise DataError(f"{path.name!r} holds several frames; expected one picture in a file")
                yield picture
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"no file {path.name!r} where one was expected; check the path") from None
    except Exception as error:  # decoders of broken files raise errors of a dozen kinds
        raise DataError(
            f"{path.name!r} cannot be read as PNG, JPEG, BMP or TIFF ({_reason(error)}); is it cut or broken?"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "no such picture"
    return (str(error).splitlines() or [type(error).__name__])[0][:80].rstrip(".")
