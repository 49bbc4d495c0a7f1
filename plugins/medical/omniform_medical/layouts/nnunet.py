"""The raw layout of nnU-Net's second version: files are found by their names, `dataset.json` says what they mean."""

from __future__ import annotations

from omniform_medical.layouts.listing import Labels, Listing
from omniform_medical.layouts.manifest import Manifest
from omniform_medical.layouts.pairs import list_tests, match

__all__ = ["list_nnunet"]


def list_nnunet(manifest: Manifest) -> Listing:
    """List `imagesTr/` with `labelsTr/`, and of `imagesTs/` what `labelsTs/` has labels of.

    Raises:
        DataError: a case lacks a channel or its label, or labels are regions or to be ignored.
    """
    folder = manifest.file.parent
    channels = manifest.numbered("channel_names")
    labels = _labels(manifest)
    for name in ("imagesTr", "labelsTr"):
        if not (folder / name).is_dir():
            raise manifest.fault(f"expected a folder {name}/ beside it, as in nnU-Net's raw layout")
    cases = match(folder / "imagesTr", folder / "labelsTr", channels=True)
    tests = list_tests(folder, channels=True)
    ending = manifest.get("file_ending", str)
    for case in cases + tests:
        for path in case.images:
            if not path.name.endswith(ending):
                raise manifest.fault(f"expected files that end with {ending!r}, got {path.name!r}")
        if channels is not None and len(case.images) != len(channels):
            raise manifest.fault(
                f"{len(channels)} channels ({', '.join(channels)}), but case {case.name!r} has {len(case.images)}"
            )
    return Listing(str(folder), tuple(cases + tests), frozenset(case.name for case in tests), channels, labels)


def _labels(manifest: Manifest) -> Labels | None:
    """Read `{"background": 0, NAME: 1}`."""
    named = manifest.get("labels", dict)
    for name, value in named.items():
        if name == "ignore":
            raise manifest.fault("the label 'ignore' is not known here; leave its voxels out of the files")
        if isinstance(value, list):
            raise manifest.fault(f"the label {name!r} is a region of several values; expected one value for each name")
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise manifest.fault(f"expected a whole number from 0 up for the label {name!r}, got {value!r}")
    if len(set(named.values())) < len(named):
        raise manifest.fault("expected a value of its own for every label")
    return manifest.ordered({value: name for name, value in named.items()}) if named else None
