"""Tuning of a code model to one project, and the measure of what that brought on the project's later commits."""

from omniform_codegen.personalization.output import load_personalized, save_personalization
from omniform_codegen.personalization.tuning import Personalization, personalize

__all__ = ["Personalization", "load_personalized", "personalize", "save_personalization"]
