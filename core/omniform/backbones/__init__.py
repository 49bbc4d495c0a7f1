"""Backbones: layers in an arrangement. What they return travels as `Features`."""

from omniform.backbones.features import Features
from omniform.backbones.packed import Packed
from omniform.backbones.pyramid import Down, Pyramid
from omniform.backbones.sequence import Sequence
from omniform.backbones.unet import UNet, Up

__all__ = ["Down", "Features", "Packed", "Pyramid", "Sequence", "UNet", "Up"]
