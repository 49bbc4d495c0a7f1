"""Rotary positions as a config declares them."""

from __future__ import annotations

from math import pi

from omniform.positions import Rotary
from omniform_codegen.checkpoints.settings import Settings

__all__ = ["rotary", "rotated_channels"]

_BASE = 10_000.0


def rotary(settings: Settings, channels: int) -> Rotary:
    """Build the rotation of the first `channels` channels of every head.

    transformers 5 nests the options in `rope_parameters`; before, there were `rope_theta`, GPT-NeoX's
    `rotary_emb_base`, and `rope_scaling` with its `type`.

    Raises:
        ConfigError: a kind of scaling other than linear and Llama 3's.
    """
    rope = _section(settings)
    outer = settings.number("rope_theta", settings.number("rotary_emb_base", _BASE))
    base = rope.number("rope_theta", outer)
    kind = rope.choice("rope_type", rope.choice("type", "default", _KINDS), _KINDS)
    pairs = channels // 2
    match kind:
        case "linear":
            slowing = [rope.number("factor")] * pairs
        case "llama3":
            slowing = [_llama3(rope, 2 * pi * base ** (pair / pairs)) for pair in range(pairs)]
        case _:
            slowing = None
    return Rotary(base, channels=channels, slowing=slowing)


def rotated_channels(settings: Settings, head_dim: int, *, share: float | None = None) -> int:
    """Return how many channels of a head are rotated: a share of them where the family has one, else all.

    Args:
        share: what it is unless the config says otherwise; None where the family rotates whole heads.

    Raises:
        ConfigError: the number is not even, or there is a share where none is supported.
    """
    rope = _section(settings)
    if share is None:
        for section in (settings, rope):
            section.only("partial_rotary_factor", 1.0)
        share = 1.0
    else:
        outer = settings.number("partial_rotary_factor", settings.number("rotary_pct", share))
        share = rope.number("partial_rotary_factor", outer)
    channels = int(head_dim * share)
    if channels % 2 or not 2 <= channels <= head_dim:
        raise settings.unfit("the rotated part of a head", f"an even number of its {head_dim} channels", channels)
    return channels


_KINDS = ("default", "linear", "llama3")


def _section(settings: Settings) -> Settings:
    nested = settings.section("rope_parameters")
    rope = nested if nested.values else settings.section("rope_scaling")
    if any(isinstance(value, dict) for value in rope.values.values()):
        raise settings.unfit("rope_parameters", "the same for all layers", dict(rope.values))
    return rope


def _llama3(rope: Settings, wavelength: float) -> float:
    """Return by how much a frequency is divided: long waves by the factor, short ones by 1, others in between."""
    factor, context = rope.number("factor"), rope.count("original_max_position_embeddings")
    low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
    if high <= low:
        raise rope.unfit("high_freq_factor", f"above low_freq_factor, {low}", high)
    kept = min(max((context / wavelength - low) / (high - low), 0.0), 1.0)
    return 1 / ((1 - kept) / factor + kept)
