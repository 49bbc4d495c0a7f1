"""The layout of the Medical Segmentation Decathlon (arXiv:1902.09063): `dataset.json` lists the files of every case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omniform_medical.case import Case
from omniform_medical.layouts.labels import whole_number
from omniform_medical.layouts.listing import Labels, Listing
from omniform_medical.layouts.manifest import Manifest
from omniform_medical.layouts.pairs import list_tests, refuse_unlabelled
from omniform_medical.reading.formats import strip_ending

__all__ = ["list_msd"]


def list_msd(manifest: Manifest) -> Listing:
    """List the cases of `training`, and those of `imagesTs/` that `labelsTs/` has labels of.

    Raises:
        DataError: an entry is not as it should be, or leads out of the folder; several modalities share a file.
    """
    channels = manifest.numbered("modality")
    if channels is not None and len(channels) > 1:
        raise manifest.fault(
            f"{len(channels)} modalities ({', '.join(channels)}) in one 4-D file are not read; write each into a file "
            "of its own, CASE_0000, CASE_0001, ..., as nnU-Net's nnUNetv2_convert_MSD_dataset does"
        )
    cases, unlabelled = [], []
    for entry in manifest.get("training", list):
        image, label = _files(manifest, entry)
        name = strip_ending(image.name)
        if label is None:
            unlabelled.append(name)
        cases.append(Case(name, (image,), label))
    refuse_unlabelled(str(manifest.file), unlabelled)
    tests = list_tests(manifest.file.parent)
    return Listing(
        str(manifest.file.parent),
        tuple(cases + tests),
        frozenset(case.name for case in tests),
        channels,
        _labels(manifest),
    )


def _files(manifest: Manifest, entry: Any) -> tuple[Path, Path | None]:
    if not isinstance(entry, dict) or "image" not in entry:
        raise manifest.fault(f"expected entries of 'training' with image and label, got {str(entry)[:60]!r}")
    label = entry.get("label")
    return manifest.path(entry["image"]), None if label is None else manifest.path(label)


def _labels(manifest: Manifest) -> Labels | None:
    """Read `{"0": "background", "1": NAME}`."""
    named = manifest.get("labels", dict)
    values = {value: whole_number(value) for value in named}
    if strange := [value for value, number in values.items() if number is None]:
        raise manifest.fault(f"expected 'labels' to give each value its name, got the value {strange[0]!r}")
    names = {number: str(named[value]) for value, number in values.items() if number is not None}
    return manifest.ordered(names) if named else None
