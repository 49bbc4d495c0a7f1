"""Frozen dataclasses to JSON and back, strictly: an unknown, missing or ill-typed field is refused by its name."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from omniform.errors import OmniformError, RunError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["from_json", "read_json", "to_json"]

ConfigT = TypeVar("ConfigT", bound="DataclassInstance")

_REMEDY = "restore the file or train again"


def to_json(value: Any) -> Any:
    """Return a dataclass as plain JSON values; a float that JSON cannot hold is written as its name.

    Raises:
        TypeError: a field holds something else than int, float, str, bool, None, a path, a tuple, a list,
            a mapping or a dataclass.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value) if field.init}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): to_json(item) for name, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")


def from_json(kind: type[ConfigT], value: Any, *, where: str) -> ConfigT:
    """Undo `to_json`.

    Args:
        where: what is read, for the message: a file, and the place in it.

    Raises:
        RunError: a field is unknown, missing, of another type, or refused by the dataclass.
    """
    if not isinstance(value, Mapping):
        raise RunError(f"{where}: expected an object with the fields of {kind.__name__}, got {value!r}; {_REMEDY}")
    names = [field.name for field in fields(kind) if field.init]
    if unknown := sorted(set(value) - set(names)):
        raise RunError(f"{where}: unknown field {unknown[0]!r}, expected {', '.join(names)}; {_REMEDY}")
    if missing := [name for name in names if name not in value]:
        raise RunError(f"{where}: the field {missing[0]!r} is missing; {_REMEDY}")
    hints = get_type_hints(kind)
    read = {name: _read(hints[name], value[name], f"{where}: {name}") for name in names}
    try:
        return kind(**read)
    except (OmniformError, ValueError) as error:
        raise RunError(f"{where}: {error}") from None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RunError: it is missing, unreadable or broken.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"expected {path}, but the file is missing; {_REMEDY}") from None
    except (OSError, ValueError) as error:
        raise RunError(f"expected JSON in {path}, but it cannot be read ({error}); {_REMEDY}") from None


def _read(hint: Any, value: Any, where: str) -> Any:
    """Read one value of the type `hint`."""
    if get_origin(hint) in (Union, UnionType):
        return _read_union(hint, value, where)
    if get_origin(hint) is Literal:
        return _accept(value in get_args(hint) and type(value) in map(type, get_args(hint)), hint, value, where)
    if get_origin(hint) is tuple:
        return _read_tuple(hint, value, where)
    if get_origin(hint) is Mapping:
        return _accept(isinstance(value, dict), hint, value, where)
    if isinstance(hint, type) and is_dataclass(hint):
        return from_json(hint, value, where=where)
    if hint is float:
        if value in ("inf", "-inf", "nan"):
            return float(value)
        return float(_accept(isinstance(value, int | float) and not isinstance(value, bool), hint, value, where))
    if hint is int:
        return _accept(isinstance(value, int) and not isinstance(value, bool), hint, value, where)
    if hint is Path:
        return Path(_accept(isinstance(value, str), hint, value, where))
    if hint in (str, bool, NoneType):
        return _accept(isinstance(value, hint), hint, value, where)
    raise TypeError(f"{where}: a field of type {hint} cannot be kept in JSON")


def _read_union(hint: Any, value: Any, where: str) -> Any:
    for choice in get_args(hint):
        try:
            return _read(choice, value, where)
        except RunError:
            continue
    return _accept(False, hint, value, where)


def _read_tuple(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    kinds = get_args(hint)
    _accept(isinstance(value, list), hint, value, where)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    _accept(len(kinds) == len(value), hint, value, where)
    return tuple(_read(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _accept(holds: bool, hint: Any, value: Any, where: str) -> Any:
    if not holds:
        name = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")
        raise RunError(f"{where}: expected {name}, got {value!r}; {_REMEDY}")
    return value
