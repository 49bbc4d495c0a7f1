"""Replace projections: the one way in for quantised, low-rank, LoRA and token-parameter linear maps."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from omniform.errors import ConfigError

__all__ = ["replace_linear"]


def replace_linear(
    model: nn.Module,
    make: Callable[[nn.Linear], nn.Module],
    where: Callable[[str, nn.Linear], bool] = lambda name, linear: True,
) -> list[str]:
    """Replace linear layers of `model` in place and return the names of those replaced.

    Args:
        make: turns a linear layer into the module that stands in its place, of the same input and output shape.
        where: chooses by qualified name and layer, as `torchao.quantize_`'s filter does.

    Raises:
        ConfigError: if `where` chooses nothing.
    """
    chosen = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear) and where(n, m)]
    for name, linear in chosen:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, make(linear))
    if not chosen:
        raise ConfigError("replace_linear found no layer to replace: loosen `where`, or print model.named_modules()")
    return [name for name, _ in chosen]
