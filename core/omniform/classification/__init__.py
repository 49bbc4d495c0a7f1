"""What every domain's classification shares: predictions, and pictures of who is taken for whom."""

from omniform.classification.predictions import Labelled, Predictions, confusion, representative

__all__ = ["Labelled", "Predictions", "confusion", "representative"]
