"""Which layout a folder has."""

from __future__ import annotations

from pathlib import Path

from omniform.errors import DataError
from omniform_medical.layouts.listing import Listing
from omniform_medical.layouts.manifest import read_manifest
from omniform_medical.layouts.msd import list_msd
from omniform_medical.layouts.nnunet import list_nnunet
from omniform_medical.layouts.pairs import list_pairs

__all__ = ["list_folder"]


def list_folder(folder: Path) -> Listing:
    """List the labelled cases of a data set.

    Raises:
        DataError: the folder is absent, or has no layout that is known, or is not as its layout demands.
    """
    if not folder.is_dir():
        raise DataError(f"expected a folder with images and labels, or `sample`; got {str(folder)!r}, which is none")
    manifest = read_manifest(folder)
    if manifest is None:
        return list_pairs(folder)
    if "channel_names" in manifest:
        return list_nnunet(manifest)
    if "training" in manifest:
        return list_msd(manifest)
    raise manifest.fault("expected 'training' (Medical Segmentation Decathlon) or 'channel_names' (nnU-Net)")
