"""From a file, folder or archive to an `Image`: `volume` leads, `stored` states what is refused in every format."""

from omniform_medical.reading.archive import unpacked
from omniform_medical.reading.formats import ENDINGS, is_image, strip_ending
from omniform_medical.reading.volume import read_dicom_datasets, read_image, read_label

__all__ = ["ENDINGS", "is_image", "read_dicom_datasets", "read_image", "read_label", "strip_ending", "unpacked"]
