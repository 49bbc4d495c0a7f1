"""MONAI bundles: a run as one (`export_bundle`), others' to segment with (`BundleSegmenter`), without pickles.

`load_network`, `Prepare`, `Probabilities` and `Restore` are what the configuration of an exported bundle names.
"""

from omniform_medical.bundle.export import export_bundle
from omniform_medical.bundle.parts import Prepare, Probabilities, Restore, load_network
from omniform_medical.bundle.segmenter import BundleSegmenter

__all__ = ["BundleSegmenter", "Prepare", "Probabilities", "Restore", "export_bundle", "load_network"]
