"""Count the floating-point operations and the saved bytes of what runs, op by op."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from math import log2, prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

__all__ = ["Count", "count"]

_aten = torch.ops.aten

_REDUCTIONS = {
    _aten.amax, _aten.amin, _aten.any, _aten.all, _aten.argmax, _aten.argmin, _aten.cummax, _aten.dot,
    _aten.linalg_vector_norm, _aten.logsumexp, _aten.max, _aten.mean, _aten.min, _aten.mv, _aten.norm, _aten.prod,
    _aten.std, _aten.sum, _aten.var, _aten.var_mean,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What ran.

    Attributes:
        products: operations in matrix products, attention, convolutions and Fourier transforms; a multiply-add is two,
            a real or complex transform of n points 5 n log2 n.
        elementwise: one for each element that any other op gives, or that a reduction takes; views are free.
        saved_bytes: what is kept for the backward pass, each storage once.
        unknown: ops of other namespaces than torch's own that have no formula.
    """

    products: int
    elementwise: int
    saved_bytes: int
    unknown: frozenset[str]

    @property
    def flops(self) -> int:
        return self.products + self.elementwise


def count(run: Callable[[], Any], *, leave_out: Iterable[Tensor] = ()) -> Count:
    """Run `run` and count; storages of the tensors in `leave_out` are not counted as saved.

    An op of a library of its own is opaque: it needs a formula by `torch.utils.flop_counter.register_flop_formula`, or
    it is listed as unknown.
    """
    ignored = {tensor.untyped_storage().data_ptr() for tensor in leave_out}
    saved: dict[int, int] = {}
    kept: list[Tensor] = []  # a storage that was freed may return under the same address

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in ignored:
            saved[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    operations = _Operations()
    with ExitStack() as stack:
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor))
        stack.enter_context(operations)
        run()
    return Count(
        products=round(operations.products),
        elementwise=operations.elementwise,
        saved_bytes=sum(saved.values()),
        unknown=frozenset(operations.unknown),
    )


class _Operations(TorchDispatchMode):
    """Sum the operations of every op below autograd.

    Torch's own FlopCounterMode has no formula for attention on a CPU, for Fourier transforms or for elementwise ops.
    """

    def __init__(self) -> None:
        super().__init__()
        self.products = 0.0
        self.elementwise = 0
        self.unknown: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet in _FORMULAS:
            self.products += _FORMULAS[packet](args, out)
        elif packet in flop_registry:
            self.products += flop_registry[packet](*args, **kwargs, out_val=out)
        elif func.namespace not in ("aten", "prim", "prims"):
            self.unknown.add(str(packet))
        elif not _is_view(func):
            self.elementwise += _numel(args) if packet in _REDUCTIONS else _numel(out)
        return out


def _is_view(func: Any) -> bool:
    return any(value.alias_info is not None and not value.alias_info.is_write for value in func._schema.returns)


def _numel(tree: Any) -> int:
    return max((leaf.numel() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)), default=0)


def _attention(args: tuple[Any, ...], out: Any) -> int:
    query, key, value = args[:3]  # (B, H, L, E), (B, H, S, E), (B, H, S, V)
    return 2 * prod(query.shape[:-1]) * key.shape[-2] * (key.shape[-1] + value.shape[-1])


def _fourier(args: tuple[Any, ...], out: Any) -> float:
    source, dims = args[0], args[1]
    shape = max((source.shape, out.shape), key=prod)  # the real side of a one-sided transform
    return 5 * prod(shape) * log2(max(prod(shape[d] for d in dims), 2))


_FORMULAS: dict[Any, Callable[[tuple[Any, ...], Any], float]] = {
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._fft_r2c: _fourier,
    _aten._fft_c2r: _fourier,
    _aten._fft_c2c: _fourier,
}
