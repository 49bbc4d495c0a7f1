"""Pairs of folders, `images*` and `labels*`, that share the rest of their names."""

from __future__ import annotations

from pathlib import Path

from omniform.errors import DataError
from omniform_medical.case import Case
from omniform_medical.layouts.files import has_channel, join_channels, list_volumes, without_channel
from omniform_medical.layouts.listing import Listing, some

__all__ = ["image_folders", "list_pairs", "list_tests", "match", "refuse_unlabelled"]

_TEST = {"ts", "test", "testing"}


def list_pairs(folder: Path) -> Listing:
    """List the cases of all pairs; those of a test pair are held out.

    Raises:
        DataError: there is no pair, or an image or a label is without the other.
    """
    if not (kinds := [kind for kind in image_folders(folder) if not _is_test(kind)]):
        raise DataError(
            f"{str(folder)!r} has no folder images/ or imagesTr/; expected these and labels/ or labelsTr/, with "
            "or without a dataset.json of the Medical Segmentation Decathlon or nnU-Net"
        )
    cases: list[Case] = []
    for kind in kinds:
        labels = folder / f"labels{kind}"
        if not labels.is_dir():
            raise DataError(f"{str(folder)!r} has images{kind}/ but no labels{kind}/; expected a label for every image")
        cases += match(folder / f"images{kind}", labels)
    tests = list_tests(folder)
    return Listing(str(folder), tuple(cases + tests), frozenset(case.name for case in tests))


def list_tests(folder: Path, *, channels: bool = False) -> list[Case]:
    """List the labelled cases of the folders that are for testing."""
    cases: list[Case] = []
    for kind in filter(_is_test, image_folders(folder)):
        labels = folder / f"labels{kind}"
        if labels.is_dir():
            cases += match(folder / f"images{kind}", labels, channels=channels, strict=False)
    return cases


def image_folders(folder: Path) -> list[str]:
    """Return what follows `images` in the names of such folders."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise DataError(f"the folder {str(folder)!r} cannot be listed ({error.strerror})") from error
    return [name.removeprefix("images") for name in names if name.startswith("images")]


def match(images: Path, labels: Path, *, channels: bool = False, strict: bool = True) -> list[Case]:
    """Bring images and labels together by name.

    Images are numbered by channel if `channels` says so, or if that alone is how labels match any of them.

    Raises:
        DataError: a label has no image, or an image no label where `strict` demands one.
    """
    volumes, answers = list_volumes(images), list_volumes(labels)
    if not channels and answers.keys().isdisjoint(volumes):
        channels = any(without_channel(name) in answers for name in volumes if has_channel(name))
    cases = join_channels(volumes, str(images)) if channels else {name: (path,) for name, path in volumes.items()}
    if strays := [name for name in answers if name not in cases]:
        raise DataError(f"{str(labels)!r} has labels of cases that {images.name}/ lacks: {some(strays)}")
    if strict:
        refuse_unlabelled(str(labels), [name for name in cases if name not in answers])
    return [Case(name, paths, answers[name]) for name, paths in cases.items() if name in answers]


def refuse_unlabelled(where: str, names: list[str]) -> None:
    """Refuse cases without labels among labelled ones.

    Raises:
        DataError: there is any.
    """
    if names:
        raise DataError(f"{where!r} has no label of {some(names)}; label them, or put them elsewhere")


def _is_test(kind: str) -> bool:
    return kind.strip("-_ .").lower() in _TEST
