"""Checkpoints without pickle: every tensor in a safetensors file, the rest of the tree as JSON.

A checkpoint folder holds `state.json` and the tensor file that it names. The tensor file is written first and under a
new name; replacing `state.json` is the moment the new checkpoint takes the old one's place. A kill at any time leaves
one whole checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from omniform.errors import RunError

__all__ = [
    "decode_tree",
    "encode_tree",
    "has_checkpoint",
    "load_checkpoint",
    "load_tensors",
    "replace_file",
    "save_checkpoint",
    "save_tensors",
]

_STATE = "state.json"
_FORMAT = 1


def encode_tree(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split a tree of dicts, lists, tuples, tensors and plain values into a JSON value and named tensors.

    Raises:
        TypeError: something else is in the tree; it would need pickle.
    """
    tensors: dict[str, Tensor] = {}
    return _encode(tree, (), tensors), tensors


def decode_tree(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo `encode_tree`; `KeyError`, `TypeError` or `ValueError` on a value that it did not write."""
    if isinstance(value, list):
        return [decode_tree(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    (kind, body) = next(iter(value.items()))
    match kind:
        case "tensor":
            return tensors[body]
        case "tuple":
            return tuple(decode_tree(item, tensors) for item in body)
        case "dict":
            return {key: decode_tree(item, tensors) for key, item in body}
        case "float":
            return float(body)
    raise ValueError(f"unknown entry {kind!r}")


def _encode(value: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = "/".join(path)
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str | int) for key in value):
            raise TypeError(f"keys of {'/'.join(path)} must be strings or integers to be saved without pickle")
        return {"dict": [[key, _encode(item, (*path, _escape(key)), tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_encode(item, (*path, str(index)), tensors) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"cannot save {'/'.join(path)} of type {type(value).__name__} without pickle")


def _escape(key: str | int) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary sibling, flushed to disk, takes its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file atomically; tensors that share memory (tied weights) are written once each."""
    seen: set[int] = set()
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        plain[name] = tensor.clone() if tensor.untyped_storage().data_ptr() in seen else tensor
        seen.add(tensor.untyped_storage().data_ptr())
    replace_file(path, save(plain))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file to the CPU.

    Raises:
        RunError: the file is missing, truncated or not safetensors.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise RunError(f"expected weights in {path}, but the file is missing; restore it or train again") from None
    except (SafetensorError, OSError) as error:
        raise RunError(f"expected safetensors in {path}, got {error}; restore the file or train again") from None


def save_checkpoint(tree: Mapping[str, Any], folder: Path) -> None:
    """Write a checkpoint folder; the one that was there stays whole until this one is."""
    value, tensors = encode_tree(tree)
    name = _next_name(folder)
    save_tensors(folder / name, tensors)
    state = {"format": _FORMAT, "tensors": name, "digest": _digest(value), "tree": value}
    replace_file(folder / _STATE, json.dumps(state, allow_nan=False).encode())
    for stale in folder.glob("state-*.safetensors"):
        if stale.name != name:
            stale.unlink()
    for unfinished in folder.glob(".state*"):
        unfinished.unlink()


def has_checkpoint(folder: Path) -> bool:
    """Tell whether a checkpoint was ever completed in `folder`."""
    return (folder / _STATE).exists()


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, tensors on the CPU.

    Raises:
        RunError: a file is missing, truncated or edited.
    """
    path = folder / _STATE
    remedy = "restore the folder, or delete it to train from the start"
    try:
        state = json.loads(path.read_bytes())
        name, value = state["tensors"], state["tree"]
        if state["format"] != _FORMAT or Path(name).name != name or state["digest"] != _digest(value):
            raise ValueError("format, file name or digest do not fit")
    except FileNotFoundError:
        raise RunError(f"expected a checkpoint in {path}, but the file is missing; {remedy}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"expected a checkpoint in {path}, got broken or edited JSON ({error!r}); {remedy}") from None
    tensors = load_tensors(folder / name)
    try:
        tree = decode_tree(value, tensors)
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} and {name} do not belong together ({error!r}); {remedy}") from None
    if not isinstance(tree, dict):
        raise RunError(f"expected a checkpoint in {path}, got a {type(tree).__name__}; {remedy}")
    return tree


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _next_name(folder: Path) -> str:
    used = [int(path.stem.partition("-")[2]) for path in folder.glob("state-*.safetensors")]
    return f"state-{max(used, default=0) + 1}.safetensors"
