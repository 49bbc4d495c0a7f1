"""How much memory training takes, by formula rather than by trial."""

from __future__ import annotations

import re
from math import ceil, prod

from omniform.errors import ConfigError
from omniform_medical.plan import Strides

__all__ = ["MIN_BATCH", "format_bytes", "parse_bytes", "training_bytes"]

MIN_BATCH = 2
"""Patches of a step at least, as nnU-Net has it: a gradient of one patch alone is too noisy."""

_WIDTH, _MAX_WIDTH = 32, 320  # channels at the finest resolution and the most, nnU-Net's
_BYTES = 4  # of a float32 value; under bfloat16 autocast about half is taken
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def training_bytes(patch: tuple[int, int, int], strides: Strides, *, batch: int, channels: int, classes: int) -> int:
    """Return the bytes that a U-Net keeps for its gradient in float32.

    Of width `w_s = min(32 * 2^s, 320)` at resolution s with `v_s` voxels. Each of its two convolutions there keeps
    three values a voxel and channel: what comes out of it, of its norm and of its activation; on the way up there are
    two more convolutions, and the first also keeps the 2 w_s channels that it joins. So

        4 * batch * (v_0 * (channels + 2 classes) + sum over s of v_s * w_s * (14, at the bottom 6))

    with logits and their softmax at the end. Weights and optimiser are left out: they are small beside.
    """
    size, width = patch, _WIDTH
    values = prod(size) * (channels + 2 * classes)
    for stride in strides:
        values += prod(size) * width * 14
        x, y, z = (ceil(voxels / step) for voxels, step in zip(size, stride, strict=True))
        size, width = (x, y, z), min(2 * width, _MAX_WIDTH)
    return _BYTES * batch * (values + prod(size) * width * 6)


def parse_bytes(text: str) -> int:
    """Read `"4G"`, `"800M"`, `"1.5 GiB"` or plain bytes; units are powers of 1024.

    Raises:
        ConfigError: it is none of them.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise ConfigError(f"expected --memory such as 4G or 800M, got {text!r}")
    return size


def format_bytes(size: int) -> str:
    """Write bytes as `parse_bytes` reads them, to three digits."""
    for unit in ("T", "G", "M", "K"):
        if size >= _UNITS[unit]:
            return f"{size / _UNITS[unit]:.3g}{unit}"
    return str(size)
