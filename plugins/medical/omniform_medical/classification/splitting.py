"""Splitting pictures: parts that the data names stay, a patient is in one part, classes have their share in each."""

from __future__ import annotations

import hashlib
import logging

import numpy as np

from omniform.configuration import split_names
from omniform.errors import DataError
from omniform.task import Splits
from omniform_medical.classification.album import Album
from omniform_medical.classification.config import ClassifyConfig

__all__ = ["classes_of", "split_album"]

_PARTS = ("train", "validation", "test")
_log = logging.getLogger(__name__)


def classes_of(album: Album) -> tuple[str, ...]:
    """Return the classes of the pictures that may be trained on, sorted.

    Raises:
        DataError: there are fewer than two.
    """
    labels = album.known_labels()
    classes = sorted({label for label, part in zip(labels, album.parts, strict=True) if part in ("", "train")})
    if len(classes) < 2:
        raise DataError(f"expected pictures of at least two classes to train on, got {', '.join(classes) or 'none'}")
    return tuple(classes)


def split_album(album: Album, config: ClassifyConfig) -> Splits[Album]:
    """Split pictures at random, whole patients at a time, seeded by `config.split_seed`.

    A validation or test part that the data names stays as it is; one that it does not name is drawn from the pictures
    for training, in the proportion of the shares.

    Raises:
        DataError: a class is missing in training, a part has fewer than two classes, a label is not among the classes,
            or a patient is in two parts.
    """
    classes = classes_of(album) if config.classes is None else split_names(config.classes)
    _refuse_strangers(album, classes)
    named = np.array([_PARTS.index(part) if part else 0 for part in album.parts])
    drawn = [0, *(place for place in (1, 2) if not (named == place).any())]
    free = np.flatnonzero(named == 0)
    part = named.copy()
    if len(drawn) > 1:
        shares = np.array(config.shares())[drawn]
        part[free] = np.array(drawn)[_deal(album.take(free), classes, shares, config.split_seed)]
    _check_parts(album, classes, part)
    return Splits(*(album.take(np.flatnonzero(part == place)) for place in range(3)))


def _deal(album: Album, classes: tuple[str, ...], shares: np.ndarray, seed: int) -> np.ndarray:
    """Deal patients, the largest first, each to the part that lacks most of what it brings; `(N,)` places in `shares`.

    Ties in size are dealt in random order. A picture without a patient stands for itself.
    """
    targets, groups = album.targets(classes), album.groups()
    groups = np.arange(len(album)) if groups is None else groups
    brings = np.zeros((int(groups.max(initial=-1)) + 1, len(classes)))
    np.add.at(brings, (groups, targets), 1)
    lacks = np.outer(shares / shares.sum(), brings.sum(axis=0))  # (parts, classes)
    wanted = lacks.copy()
    order = np.random.default_rng(seed).permutation(len(brings))
    order = order[np.argsort(-brings[order].sum(axis=1), kind="stable")]
    place = np.zeros(len(brings), dtype=np.int64)
    for group in order:
        place[group] = np.argmax((lacks / np.maximum(wanted, 1e-9)) @ brings[group])
        lacks[place[group]] -= brings[group]
    return place[groups]


def _check_parts(album: Album, classes: tuple[str, ...], part: np.ndarray) -> None:
    targets, groups = album.targets(classes), album.groups()
    for place, name in enumerate(_PARTS):
        absent = set(range(len(classes))) - set(targets[part == place].tolist())
        if absent and (place == 0 or len(absent) > len(classes) - 2):
            what = "patients" if groups is not None else "pictures"
            raise DataError(
                f"class {classes[min(absent)]!r} has too few {what}: none is left for {name}; expected one for each of "
                "train, validation and test"
            )
    if groups is not None:
        places = {}
        for group, place in zip(groups.tolist(), part.tolist(), strict=True):
            if places.setdefault(group, place) != place:
                raise DataError(
                    f"a patient has pictures in {_PARTS[places[group]]} and in {_PARTS[place]}; expected each patient "
                    "in one part: move the pictures, or leave the parts out and let --group split them"
                )
    _warn_of_copies(album, part)


def _warn_of_copies(album: Album, part: np.ndarray) -> None:
    prints = np.array([hashlib.sha256(picture.tobytes()).hexdigest() for picture in album.pixels])
    copies = int(np.isin(prints[part == 2], prints[part != 2]).sum())
    if copies:
        _log.warning("%d of %d test pictures are also in training or validation", copies, int((part == 2).sum()))


def _refuse_strangers(album: Album, classes: tuple[str, ...]) -> None:
    for name, label in zip(album.names, album.known_labels(), strict=True):
        if label not in classes:
            raise DataError(f"{name!r} is labelled {label!r}, which is not among the classes {', '.join(classes)}")
