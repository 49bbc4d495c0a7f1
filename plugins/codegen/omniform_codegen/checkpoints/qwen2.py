"""Qwen2 and 2.5: Llama with biases on queries, keys and values, and a window in its upper layers.

Source: Yang et al., Qwen2, arXiv 2407.10671; Hui et al., Qwen2.5-Coder, arXiv 2409.12186.
"""

from __future__ import annotations

from omniform_codegen.checkpoints.blueprint import Blueprint
from omniform_codegen.checkpoints.llama import gated_decoder
from omniform_codegen.checkpoints.settings import Settings

__all__ = ["qwen2"]

_KINDS = ("full_attention", "sliding_attention")


def qwen2(settings: Settings) -> Blueprint:
    """Build a network of the type `qwen2`."""
    window = settings.window(4096) if settings.flag("use_sliding_window", False) else None
    windowed = _windowed(settings, settings.depth())
    return gated_decoder(settings, qkv_bias=True).build(lambda layer: window if windowed[layer] else None)


def _windowed(settings: Settings, depth: int) -> list[bool]:
    """Return which layers have a window: those that `layer_types` says, or all from `max_window_layers` on."""
    kinds = settings.values.get("layer_types")
    if kinds is None:
        full = settings.count("max_window_layers", 28, least=0)
        return [layer >= full for layer in range(depth)]
    if not isinstance(kinds, list) or len(kinds) != depth or any(kind not in _KINDS for kind in kinds):
        raise settings.unfit("layer_types", f"one of {', '.join(_KINDS)} for each of {depth} layers", kinds)
    return [kind == "sliding_attention" for kind in kinds]
