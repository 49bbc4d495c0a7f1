"""Which parameters of a network are trained."""

from __future__ import annotations

from torch import Tensor, nn

from omniform.adaptation.lora import LowRank, add_low_rank
from omniform.adaptation.prefix import Prefixed, add_prefix
from omniform.adaptation.settings import Adaptation
from omniform.backbones.sequence import Sequence
from omniform.errors import ConfigError
from omniform.layers import LayerState

__all__ = ["begin", "trained_tensors"]

_BACKBONE = "backbone"
_EMBEDDINGS = ("stem", "head")


def begin(model: nn.Module, settings: Adaptation, *, start: LayerState | None = None) -> tuple[str, ...]:
    """Make a network ready to be adapted, in place, and return the names of the parameters that will train.

    - `full`: all.
    - `adapter`: low-rank updates of the backbone's linear maps, or of those whose names end in one of `targets`.
    - `prefix`: a start state for each of the backbone's mixers, begun at `start`.
    - `bias`: all biases (BitFit, arXiv 2106.10199). A linear map of the backbone that has none gets one of zeros, since
      many recent networks have none at all.
    - `embeddings`: the token vectors and the softmax's (`stem` and `head`).
    - `last-layer`: the last layer of the backbone.

    All others no longer require gradients. What the network computes is not changed yet, except by a `start` that is
    not the empty state.

    Args:
        model: a network whose parts are called `stem`, `backbone` (a `Sequence`) and `head`, the latter if it has one.

    Raises:
        ConfigError: nothing would be trained, or no linear map is called so.
        IncompatibleError: a mixer has no state that could be trained.
    """
    backbone = model.get_submodule(_BACKBONE)
    assert isinstance(backbone, Sequence)
    match settings.method:
        case "adapter":
            _add_adapter(model, settings)
        case "prefix":
            if start is None:
                raise ConfigError("expected a start state to train a prefix from, got none")
            add_prefix(backbone, start)
        case "bias":
            _add_biases(backbone)
    wanted = _wanted(model, settings, depth=len(backbone.layers))
    chosen = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in wanted)
        if name in wanted and parameter.numel():
            chosen.append(name)
    if not chosen:
        raise ConfigError(f"the method {settings.method} would train nothing here; choose another, or a longer prefix")
    return tuple(chosen)


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that require gradients, by name, tied ones once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def _wanted(model: nn.Module, settings: Adaptation, *, depth: int) -> set[str]:
    """Return the names of the parameters that a method trains, in a network that has been given its additions."""
    names = [name for name, _ in model.named_parameters()]
    match settings.method:
        case "full":
            return set(names)
        case "adapter":
            return {
                f"{n}.{part}" for n, m in model.named_modules() if isinstance(m, LowRank) for part in ("down", "up")
            }
        case "prefix":
            added = [(name, module) for name, module in model.named_modules() if isinstance(module, Prefixed)]
            return {f"{name}.start_{part}" for name, module in added for part in module.start}
        case "bias":
            return {name for name in names if name.endswith((".bias", "_bias"))}
        case "embeddings":
            return {name for name in names if name.startswith(tuple(f"{part}." for part in _EMBEDDINGS))}
        case "last-layer":
            return {name for name in names if name.startswith(f"{_BACKBONE}.layers.{depth - 1}.")}


def _add_adapter(model: nn.Module, settings: Adaptation) -> None:
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    inside = [name for name in names if name.startswith(f"{_BACKBONE}.")]
    targets = settings.targets
    chosen = {n for n in inside if not targets or any(n == t or n.endswith(f".{t}") for t in targets)}
    if not chosen:
        ends = ", ".join(sorted({name.rpartition(".")[2] for name in inside})) or "none"
        raise ConfigError(f"expected targets among the linear maps ({ends}), got {', '.join(targets) or 'none'}")
    add_low_rank(
        model,
        rank=settings.rank,
        alpha=settings.alpha,
        dropout=settings.dropout,
        where=lambda name, linear: name in chosen,
    )


def _add_biases(backbone: nn.Module) -> None:
    for module in backbone.modules():
        if isinstance(module, nn.Linear) and module.bias is None:
            module.bias = nn.Parameter(module.weight.new_zeros(module.out_features))
