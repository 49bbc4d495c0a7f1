"""Which form of an op runs: the definition, plain torch, C++ compiled here, or Triton.

reference   the definition in plain torch: any device, any dtype, twice differentiable, slow
cpu         the fast form in plain torch: any device
native      C++ built on first use by this machine's compiler: float32 on a CPU
triton      GPU kernels; on a CPU only under Triton's interpreter (TRITON_INTERPRET=1), for tests
"""

from collections.abc import Collection
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Literal, get_args

import torch
from torch import Tensor

from omniform_kernels.compiler import Library

__all__ = ["Backend", "Form", "cast", "choose", "form_module", "is_recorded"]

Form = Literal["reference", "cpu", "native", "triton"]
Backend = Literal["auto", "reference", "cpu", "native", "triton"]

_BACKENDS = get_args(Backend)
_PLAIN: tuple[Form, ...] = ("reference", "cpu")


def choose(
    backend: Backend,
    device: torch.device,
    dtype: torch.dtype,
    *,
    native: Library | None = None,
    triton: Collection[torch.dtype] = (),
) -> Form:
    """Return the form that runs: the one asked for, or for "auto" the fastest that this device and dtype have.

    Args:
        backend: what the caller asked for.
        device, dtype: of the tensors that the form will see.
        native: the op's C++ library, if it has one.
        triton: the dtypes that the op's Triton kernels take, if it has any.

    Raises:
        ValueError: the backend does not exist, or cannot run this op on this device and dtype.
    """
    if backend not in _BACKENDS:
        raise ValueError(f"expected backend to be one of {', '.join(_BACKENDS)}; got {backend!r}")
    if backend in _PLAIN:
        return backend
    if backend == "auto":
        if torch.compiler.is_exporting():
            return "cpu"  # an exported graph holds torch's own operators
        if device.type == "cuda" and dtype in triton and _has_triton():
            return "triton"
        if native is not None and device.type == "cpu" and dtype == torch.float32 and _is_built(native):
            return "native"
        return "cpu"
    if backend == "native":
        _refuse_unless(native is not None, backend, "this op has no C++ form")
        _refuse_unless(device.type == "cpu" and dtype == torch.float32, backend, f"{dtype} on {device.type}")
        _refuse_unless(native is not None and _is_built(native), backend, "no C++ compiler works here")
        return backend
    _refuse_unless(len(triton) > 0, backend, "this op has no Triton form")
    _refuse_unless(_has_triton(), backend, "triton is not installed")
    _refuse_unless(device.type == "cuda" or _is_interpreted(), backend, f"a tensor on {device.type}")
    _refuse_unless(dtype in triton, backend, f"{dtype}")
    return backend


def is_recorded(*tensors: Tensor | None) -> bool:
    """Whether a call with these tensors must go through a custom op: it is differentiated, or traced by a compiler.

    Other calls may go around the op; for one token it would take as long as the work.
    """
    if torch.compiler.is_exporting():
        return False  # an exported graph holds torch's own operators
    if torch.compiler.is_compiling():
        return True
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


@cache
def form_module(op: str, form: str) -> ModuleType:
    """Return the module of a form that stands beside the module called `op`; Triton is imported only when it runs."""
    return import_module(f"{op.rpartition('.')[0]}.{form}")


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return x in this dtype; `Tensor.to` alone takes a microsecond to find that there is nothing to do."""
    return x if x.dtype == dtype else x.to(dtype)


def _refuse_unless(condition: bool, backend: str, reason: str) -> None:
    if not condition:
        raise ValueError(f'backend "{backend}" cannot run: {reason}; choose "auto" or "cpu"')


@torch.compiler.assume_constant_result
def _is_built(library: Library) -> bool:
    return library.available()


@torch.compiler.assume_constant_result
def _has_triton() -> bool:
    return find_spec("triton") is not None


@torch.compiler.assume_constant_result
def _is_interpreted() -> bool:
    from triton import knobs

    return knobs.runtime.interpret
