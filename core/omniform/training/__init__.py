"""Training for every domain: `config` is light, `fit` brings torch and (when it runs) Lightning."""

from omniform.training.config import DEFAULT_LEARNING_RATE, Training

__all__ = ["DEFAULT_LEARNING_RATE", "Training"]
