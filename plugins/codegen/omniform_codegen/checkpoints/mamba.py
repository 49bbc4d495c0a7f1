"""Mamba: selective state spaces and RMS norms, nothing else.

Source: Gu and Dao, arXiv 2312.00752.
"""

from __future__ import annotations

from functools import partial
from math import ceil

from torch import nn

from omniform.backbones import Sequence
from omniform.layers import Branch, Layer
from omniform.mixers.mamba import Mamba
from omniform_codegen.checkpoints.blueprint import Blueprint
from omniform_codegen.checkpoints.origin import Origin, of_modules, plain, single
from omniform_codegen.checkpoints.settings import Settings
from omniform_codegen.model import CausalModel

__all__ = ["mamba"]

_CONTEXT = 2048  # tokens that its authors trained on; the config does not say


def mamba(settings: Settings) -> Blueprint:
    """Build a network of the type `mamba`.

    The sum that the layers add to has the dtype of the weights, whatever `residual_in_fp32` says.
    """
    settings.only("use_bias", False)
    settings.only("use_conv_bias", True)
    settings.choice("hidden_act", "silu", ("silu", "swish"))
    dim, depth = settings.width("hidden_size"), settings.depth()
    automatic = settings.values.get("time_step_rank", "auto") == "auto"
    make_mixer = partial(
        Mamba,
        expand=settings.width("expand", 2),
        num_states=settings.width("state_size", 16),
        taps=settings.width("conv_kernel", 4),
        step_rank=ceil(dim / 16) if automatic else settings.width("time_step_rank"),
    )
    norm = partial(nn.RMSNorm, eps=settings.number("layer_norm_epsilon", 1e-5))
    tied = settings.flag("tie_word_embeddings", True)
    backbone = Sequence(
        lambda index, dim: Layer(Branch(make_mixer(dim), norm(dim))), dim=dim, depth=depth, norm=norm(dim)
    )
    model = CausalModel(backbone, dim=dim, vocabulary=settings.width("vocab_size"), tied=tied)
    modules = {"stem": plain("backbone.embeddings"), "backbone.norm": plain("backbone.norm_f")}
    if not tied:
        modules["head"] = plain("lm_head")
    parameters: dict[str, Origin] = {}
    for index in range(depth):
        ours, theirs = f"backbone.layers.{index}.branches.0", f"backbone.layers.{index}"
        modules[f"{ours}.norm"] = plain(f"{theirs}.norm")
        modules |= {f"{ours}.op.{name}": plain(f"{theirs}.mixer.{module}") for name, module in _MODULES.items()}
        parameters |= {f"{ours}.op.{name}": plain(f"{theirs}.mixer.{tensor}") for name, tensor in _VECTORS.items()}
        parameters[f"{ours}.op.conv_weight"] = single(f"{theirs}.mixer.conv1d.weight")
    return Blueprint(
        model=model,
        origins={**of_modules(model, modules), **parameters},
        context=_CONTEXT,
        copies={"lm_head.weight": "backbone.embeddings.weight"} if tied else {},
    )


_MODULES = {"input": "in_proj", "select": "x_proj", "step": "dt_proj", "out": "out_proj"}
_VECTORS = {"A_log": "A_log", "D": "D", "conv_bias": "conv1d.bias"}
