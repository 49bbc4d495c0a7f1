"""Networks of the task `segment`, all over patches: `(B, C, *S) -> logits (B, K, *S)`, finest first."""

from omniform_medical.models.build import build_model

__all__ = ["build_model"]
