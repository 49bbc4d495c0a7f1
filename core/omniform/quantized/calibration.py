"""What linear layers see: the inputs that a quantiser is fitted to."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from omniform.errors import ConfigError

__all__ = ["record_inputs"]


def record_inputs(model: nn.Module, run: Callable[[], object], *, tokens: int = 1024) -> dict[nn.Linear, Tensor]:
    """Return up to `tokens` input vectors (N, D) of every linear layer of `model` that runs during `run()`.

    Of each call's tokens evenly spread ones are kept until there are enough.

    Raises:
        ConfigError: if no linear layer ran.
    """
    inputs: dict[nn.Linear, list[Tensor]] = {}

    def keep(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Linear)
        seen = inputs.setdefault(layer, [])
        rows = arguments[0].detach().reshape(-1, layer.in_features)
        wanted = min(tokens - sum(map(len, seen)), len(rows))
        if wanted > 0:
            seen.append(rows[torch.linspace(0, len(rows) - 1, wanted, device=rows.device).long()].clone())

    hooks = [m.register_forward_pre_hook(keep) for m in model.modules() if isinstance(m, nn.Linear)]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    if not inputs:
        raise ConfigError("record_inputs saw no linear layer run: let run() call the model with calibration data")
    return {layer: torch.cat(rows) for layer, rows in inputs.items()}
