"""What an adaptation costs, by formula.

Shapes: L tokens of a sequence, D width, V outputs of the head.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from omniform.adaptation.lora import LowRank
from omniform.adaptation.selection import trained_tensors
from omniform.adaptation.settings import Adaptation
from omniform.backbones.sequence import Sequence
from omniform.layers import Layer

__all__ = ["AdaptationCost", "adaptation_cost"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptationCost:
    """What was trained and what it took.

    Attributes:
        trained: parameters that trained.
        parameters: all of the network's, the method's additions included.
        stored_bytes: what has to be kept beside the base network.
        flops: operations of training, a multiply-add counted as two; validation is not in it.
    """

    trained: int
    parameters: int
    stored_bytes: int
    flops: int


def adaptation_cost(model: nn.Module, settings: Adaptation, *, length: int, sequences: int) -> AdaptationCost:
    r"""Return the cost of training a network that `begin` has made ready.

    .. math::
        F = n \Big(\underbrace{\textstyle\sum_i (2 L P_i + R_i)}_{\text{forward}} +
        \underbrace{\textstyle\sum_{i \ge l} (2 L P_i + 2 R_i)}_{\text{backward to what is lowest trained}} +
        \underbrace{2 L T}_{\text{gradients of weights}}\Big)

    over layers and head, with P_i the entries of their matrices, R_i what mixers do beside them (attention's scores and
    sums, those with a prefix not counted; each such product has two gradients), T the trained entries of matrices, and
    l the lowest part that trains.

    Args:
        length: L.
        sequences: n, over all steps.
    """
    backbone = model.get_submodule("backbone")
    assert isinstance(backbone, Sequence)
    trained = trained_tensors(model)
    parts = [_layer_flops(layer, length) for layer in backbone.layers]
    head = 2 * length * sum(p.numel() for p in _output(model).parameters())
    forward = sum(products + rest for products, rest in parts) + head
    lowest = len(parts) - 1 if settings.method == "last-layer" else 0
    backward = sum(products + 2 * rest for products, rest in parts[lowest:]) + head
    weights = 2 * length * _matrix_entries(model)
    return AdaptationCost(
        trained=sum(tensor.numel() for tensor in trained.values()),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        stored_bytes=sum(tensor.numel() * tensor.element_size() for tensor in trained.values()),
        flops=sequences * (forward + backward + weights),
    )


def _layer_flops(layer: Layer, length: int) -> tuple[int, int]:
    """Return the operations of a layer's products with matrices, and of what its formula counts beside them."""
    plain = sum(module.weight.numel() for module in layer.modules() if isinstance(module, nn.Linear))
    added = sum(m.up.numel() + m.down.numel() for m in layer.modules() if isinstance(m, LowRank))
    beside = max(0, layer.cost((length,)).flops - 2 * length * plain)
    return 2 * length * (plain + added), beside


def _output(model: nn.Module) -> nn.Module:
    """Return the head or, where it is tied, the token vectors."""
    head = getattr(model, "head", None)
    return model.get_submodule("stem" if head is None else "head")


def _matrix_entries(model: nn.Module) -> int:
    """Return the number of trained entries that tokens are multiplied by; token vectors are looked up."""
    chosen = {id(p) for p in model.parameters() if p.requires_grad and p.ndim == 2}
    looked_up = model.get_submodule("stem")
    if looked_up is not _output(model):
        chosen -= {id(p) for p in looked_up.parameters()}
    return sum(p.numel() for p in model.parameters() if id(p) in chosen)
