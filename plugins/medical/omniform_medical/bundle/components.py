"""The parts of a bundle's configuration, read as plain values: no expression in it is ever evaluated."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omniform.errors import DataError

__all__ = ["Component", "read_component", "read_components"]

_DEPTH = 20  # of nested values and references


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A class that a configuration names, with arguments that were not looked at yet.

    Attributes:
        name: of the class; what it is imported from does not matter, it is looked up in a list.
        module: what it says it is imported from, `""` where it does not.
        key: where it stands, such as `preprocessing::transforms::2`.
        given: its arguments as they stand.
        config: whole, for references to values elsewhere in it.
    """

    name: str
    module: str
    key: str
    given: Mapping[str, Any]
    config: Mapping[str, Any]

    def arguments(self, known: Collection[str] | None = None, ignored: Collection[str] = ()) -> dict[str, Any]:
        """Return the arguments as plain values.

        Args:
            known: names that are understood; all are if `None`.
            ignored: names that do not matter, whose values are not looked at.

        Raises:
            DataError: an argument is not known, or its value is an expression.
        """
        found = {}
        for name, value in self.given.items():
            if name in ignored:
                continue
            where = f"{self.key}::{name}"
            if known is not None and name not in known:
                raise DataError(f"{where}: {self.name} with {name!r} is not understood; known are {', '.join(known)}")
            found[name] = _plain(value, where, self.config, _DEPTH)
        return found


def read_component(value: Any, key: str, config: Mapping[str, Any]) -> Component:
    """Read `{"_target_": "package.Class", ...}`, or `{"name": "Class", ...}` as old bundles have it.

    Raises:
        DataError: it is something else, or says more of its making than its class.
    """
    if not isinstance(value, Mapping):
        raise DataError(f"{key}: expected an object with _target_, got {_shown(value)}; expressions are not evaluated")
    target = value.get("_target_", value.get("name"))
    if not isinstance(target, str) or target.startswith(("$", "@", "%")):
        raise DataError(f"{key}: expected a class by its name as _target_, got {_shown(target)}")
    named = ("_target_", "_desc_") if "_target_" in value else ("name", "_desc_")
    given = {name: item for name, item in value.items() if name not in named}
    for name in given:
        if name.startswith("_"):
            raise DataError(f"{key}::{name}: {name} is not understood; expected a class and plain arguments")
    module, _, name = target.rpartition(".")
    return Component(name=name, module=module, key=key, given=given, config=config)


def read_components(value: Any, key: str, config: Mapping[str, Any]) -> list[Component]:
    """Read a list of components, or a `Compose` of one.

    Raises:
        DataError: it is neither.
    """
    if isinstance(value, Mapping):
        compose = read_component(value, key, config)
        if compose.name != "Compose" or set(compose.given) != {"transforms"}:
            raise DataError(f"{key}: expected a Compose of transforms and nothing else, got {compose.name}")
        value, key = compose.given["transforms"], f"{key}::transforms"
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise DataError(f"{key}: expected a list of transforms, got {_shown(value)}; expressions are not evaluated")
    return [read_component(each, f"{key}::{index}", config) for index, each in enumerate(value)]


def _plain(value: Any, key: str, config: Mapping[str, Any], depth: int) -> Any:
    """Return a JSON value in which references to other plain values are followed."""
    if not depth:
        raise DataError(f"{key}: nested too deeply, or it refers to itself")
    if isinstance(value, str):
        return _text(value, key, config, depth)
    if isinstance(value, Mapping):
        return {name: _plain(item, f"{key}::{name}", config, depth - 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, f"{key}::{index}", config, depth - 1) for index, item in enumerate(value)]
    return value


def _text(value: str, key: str, config: Mapping[str, Any], depth: int) -> Any:
    if value.startswith(("$", "%")):
        raise DataError(f"{key}: {_shown(value)} is an expression, which is not evaluated; write the value itself")
    if not value.startswith("@"):
        return value
    if (name := value[1:]) not in config:
        raise DataError(f"{key}: {_shown(value)} refers to nothing at the top of the configuration; write the value")
    return _plain(config[name], name, config, depth - 1)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
