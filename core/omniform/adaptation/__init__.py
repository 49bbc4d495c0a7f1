"""Adaptation of a trained network to new data: `settings` is light; the other modules bring torch."""

from omniform.adaptation.settings import Adaptation, Method

__all__ = ["Adaptation", "Method"]
