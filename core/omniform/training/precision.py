"""Devices and number formats: which one a run uses, and how it was found."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn

from omniform.errors import ConfigError
from omniform.task import Objective

__all__ = ["choose_precision", "move_to", "resolve_device"]

_TRIALS = 5
_GAIN = 0.9  # bf16 must save a tenth, or its coarser numbers are not worth it

Precision = Literal["32", "bf16"]


def resolve_device(device: str) -> torch.device:
    """Return the device that `auto`, `cpu` or `cuda` means here.

    Raises:
        ConfigError: a GPU was asked for and there is none.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise ConfigError("expected a CUDA device, but torch sees none; use --device cpu, or install torch for CUDA")
    return torch.device("cuda" if found and device != "cpu" else "cpu")


def move_to(batch: Any, device: torch.device) -> Any:
    """Return a batch with every tensor in its dicts, lists and tuples on `device`."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: move_to(item, device) for key, item in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(move_to(item, device) for item in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(move_to(item, device) for item in batch)
    return batch


def choose_precision(
    asked: Literal["auto", "32", "bf16"], model: nn.Module, objective: Objective, batch: Any, device: torch.device
) -> Precision:
    """Return the format to train in; `auto` is bf16 where a step under autocast takes at most 0.9 of the fp32 time.

    The two formats take turns and their medians are compared, so that a busy machine slows both alike. A model with an
    operation that has no bf16 kernel stays in fp32. At least one step runs whatever is asked, which also compiles
    whatever compiles; weights, buffers and gradients are left as they were.
    """
    model = model.to(device)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    generator = torch.Generator(device=device).manual_seed(0)
    batch = move_to(batch, device)

    def step(precision: Precision) -> float:
        start = time.perf_counter()
        context = torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()
        with context:
            loss = objective(model, batch, generator=generator).total
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        model.zero_grad(set_to_none=True)
        return time.perf_counter() - start

    try:
        return _faster(step) if asked == "auto" else _warm_up(asked, step)
    finally:
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])


def _faster(step: Callable[[Precision], float]) -> Precision:
    step("32")
    try:
        step("bf16")
    except RuntimeError:
        return "32"
    times = [(step("32"), step("bf16")) for _ in range(_TRIALS)]
    single, half = (median(column) for column in zip(*times, strict=True))
    return "bf16" if half <= _GAIN * single else "32"


def _warm_up(precision: Precision, step: Callable[[Precision], float]) -> Precision:
    step(precision)
    return precision
