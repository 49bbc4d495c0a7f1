"""What a trained run predicts from: images alone."""

from __future__ import annotations

from pathlib import Path

from omniform.errors import DataError
from omniform_medical.case import Case
from omniform_medical.layouts.files import has_channel, join_channels, list_volumes
from omniform_medical.layouts.listing import some
from omniform_medical.layouts.pairs import image_folders
from omniform_medical.reading.formats import DICOM_ENDINGS, ending_of, is_image, strip_ending

__all__ = ["list_inputs"]


def list_inputs(path: Path, channels: tuple[str, ...]) -> tuple[Case, ...]:
    """List the cases of a file, a folder of files, a data set, or a DICOM folder or archive, sorted by name.

    The folders that hold images are those of the layouts, or else the folder itself; a DICOM series is one case.

    Raises:
        DataError: nothing is there, two cases have one name, or a case has not these channels.
    """
    if path.is_dir():
        kinds = image_folders(path)
        groups = [list_volumes(path / f"images{kind}") for kind in kinds] if kinds else [_files(path)]
    elif path.is_file():
        groups = [{strip_ending(path.name) or path.name: path}]
    else:
        raise DataError(f"there is no {str(path)!r}; expected an image, or a folder of images")
    cases: dict[str, tuple[Path, ...]] = {}
    for volumes in groups:
        for name, images in _join(str(path), volumes, channels).items():
            if name in cases:
                raise DataError(f"{str(path)!r} has two cases called {name!r}; predict from one folder at a time")
            cases[name] = images
    if not cases:
        raise DataError(f"{str(path)!r} has no image in it; expected files such as CASE.nii.gz, or a DICOM series")
    return tuple(Case(name, cases[name]) for name in sorted(cases))


def _files(folder: Path) -> dict[str, Path]:
    """Return the volumes of a folder, which may be folders of DICOM series; or the folder itself if it is a series."""
    volumes = list_volumes(folder)
    slices = [name for name, path in volumes.items() if ending_of(path.name) in DICOM_ENDINGS and path.is_file()]
    others = [path.name for path in volumes.values() if path.is_file() and ending_of(path.name) not in DICOM_ENDINGS]
    if slices and others:
        raise DataError(
            f"{str(folder)!r} has DICOM files beside {some(others)}; put the series into a folder of its own"
        )
    return {folder.resolve().name: folder} if is_image(folder) and not others else volumes


def _join(where: str, volumes: dict[str, Path], channels: tuple[str, ...]) -> dict[str, tuple[Path, ...]]:
    """Put channels together; those of single channels need no number, but may all have 0000."""
    count, told = len(channels), f"the run knows {len(channels)} ({', '.join(channels)})"
    if count == 1 and not all(name.endswith("_0000") for name in volumes):
        return {name: (path,) for name, path in volumes.items()}
    if bare := [path.name for name, path in volumes.items() if not has_channel(name)]:
        raise DataError(f"{where!r}: expected channels CASE_0000, CASE_0001, ...: {told}; got {some(bare)}")
    cases = join_channels(volumes, where)
    for name, images in cases.items():
        if len(images) != count:
            raise DataError(f"{where!r}: case {name!r} has {len(images)} channels, {told}")
    return cases
