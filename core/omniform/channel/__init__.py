"""Channel mixers: what happens to each token by itself, or with its neighbours."""

from omniform.channel.base import Aux, ChannelMixer
from omniform.channel.convolution import Convolution, Convolutions
from omniform.channel.matformer import MatFormer, extract, nested, sample_granularity
from omniform.channel.mlp import Mlp
from omniform.channel.moe import MixtureOfExperts
from omniform.channel.swiglu import SwiGLU

__all__ = [
    "Aux",
    "ChannelMixer",
    "Convolution",
    "Convolutions",
    "MatFormer",
    "MixtureOfExperts",
    "Mlp",
    "SwiGLU",
    "extract",
    "nested",
    "sample_granularity",
]
