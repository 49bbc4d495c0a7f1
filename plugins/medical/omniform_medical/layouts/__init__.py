"""How folders are laid out.

| layout | what it is known by |
| --- | --- |
| Medical Segmentation Decathlon | `dataset.json` with `training`, a list of `image` and `label` |
| nnU-Net, raw | `dataset.json` with `channel_names`; `imagesTr/CASE_0000.nii.gz`, `labelsTr/CASE.nii.gz` |
| pairs of folders | `images/` and `labels/`, `imagesTr/` and `labelsTr/`, ...: one ending after both words |

In pairs of folders a label is called as its image, or as its images are without `_0000`, `_0001`, ... for channels.
The folders `imagesTs/` and `labelsTs/` (or `-test`) of any layout are its own test set, as far as it has labels.
"""

from omniform_medical.layouts.folder import list_folder
from omniform_medical.layouts.inputs import list_inputs
from omniform_medical.layouts.labels import find_labels, format_labels, parse_labels
from omniform_medical.layouts.listing import Listing

__all__ = ["Listing", "find_labels", "format_labels", "list_folder", "list_inputs", "parse_labels"]
