"""Classifying networks: `(B, C, H, W)` to `(B, K)` logits, each with a slot for any mixer of the core."""

from omniform_medical.classification.models.classifier import Classifier
from omniform_medical.classification.models.dct_histotransformer import DCTHistoTransformer
from omniform_medical.classification.models.duoformer import DuoFormer
from omniform_medical.classification.models.fetal_plane import FetalPlane
from omniform_medical.classification.models.pyramid import PyramidClassifier

__all__ = ["FIXED_PARTS", "MODELS", "Classifier", "DCTHistoTransformer", "DuoFormer", "FetalPlane", "PyramidClassifier"]

FIXED_PARTS = ("stem", "head")
"""The submodules outside of the mixed layers."""

MODELS = {"pyramid": PyramidClassifier, "duoformer": DuoFormer, "fetal-plane": FetalPlane}
"""The networks that take no options of their own, by the name that `--model` gives them."""
