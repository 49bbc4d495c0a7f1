"""Channel mixers: what happens to each token by itself."""

from omniform.channel.base import Aux, ChannelMixer
from omniform.channel.mlp import Mlp
from omniform.channel.moe import MixtureOfExperts
from omniform.channel.swiglu import SwiGLU

__all__ = ["Aux", "ChannelMixer", "MixtureOfExperts", "Mlp", "SwiGLU"]
