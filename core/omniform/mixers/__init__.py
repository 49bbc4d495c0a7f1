"""Token mixers: every one written once for sequences, grids, sets and packed batches."""

from omniform.mixers.attention import Attention, AttentionState
from omniform.mixers.axial import AxialAttention
from omniform.mixers.base import Cost, CrossMixer, Mixer, MixerFactory, State, Traits, default_heads
from omniform.mixers.convmixer import ConvMixer
from omniform.mixers.cross_attention import CrossAttention
from omniform.mixers.deltanet import DeltaNet
from omniform.mixers.gated_deltanet import GatedDeltaNet
from omniform.mixers.gla import GatedLinearAttention
from omniform.mixers.hyena import HyenaND
from omniform.mixers.linear_attention import LinearAttention
from omniform.mixers.mamba import Mamba
from omniform.mixers.mamba2 import Mamba2
from omniform.mixers.mlp_mixer import MLPMixer
from omniform.mixers.neighborhood import NeighborhoodAttention
from omniform.mixers.retention import Retention
from omniform.mixers.spectformer import SpectralGating
from omniform.mixers.window import WindowAttention

__all__ = [
    "Attention",
    "AttentionState",
    "AxialAttention",
    "ConvMixer",
    "Cost",
    "CrossAttention",
    "CrossMixer",
    "DeltaNet",
    "GatedDeltaNet",
    "GatedLinearAttention",
    "HyenaND",
    "LinearAttention",
    "MLPMixer",
    "Mamba",
    "Mamba2",
    "Mixer",
    "MixerFactory",
    "NeighborhoodAttention",
    "Retention",
    "SpectralGating",
    "State",
    "Traits",
    "WindowAttention",
    "default_heads",
]
