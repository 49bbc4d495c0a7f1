"""The values of a config.json, each checked when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from reprlib import repr as shorten
from sys import float_info
from typing import Any

from omniform.errors import ConfigError

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """A config, or a section of one.

    What it declares is bounded by what the files hold, so that a network is never built that they could not fill.

    Attributes:
        path: where it came from, for messages.
        values: what it says; null is what is not said.
        largest: the largest extent of the checkpoint's tensors.
        tensors: how many these are.

    Every method raises a `ConfigError` that names the value and what was expected.
    """

    path: Path
    values: Mapping[str, Any]
    largest: int
    tensors: int

    def section(self, name: str) -> Settings:
        """Return the object of this name, empty if it is not there."""
        value = self._get(name, {})
        if not isinstance(value, dict):
            raise self.unfit(name, "an object", value)
        return replace(self, values=value)

    def count(self, name: str, default: int | None = None, *, least: int = 1, most: int | None = None) -> int:
        """Return an integer of at least `least`."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.unfit(name, f"an integer of at least {least}", value)
        if most is not None and value > most:
            raise self.unfit(name, f"at most {most}, which is what the tensors of the checkpoint have", value)
        return value

    def width(self, name: str, default: int | None = None) -> int:
        """Return an extent that some tensor must have, or a part of one."""
        return self.count(name, default, most=self.largest)

    def depth(self) -> int:
        """Return the number of layers."""
        return self.count("num_hidden_layers", most=self.tensors)

    def window(self, default: int | None) -> int | None:
        """Return the number of tokens that a query sees; None if it is null, or is not there and has no default."""
        if self.values.get("sliding_window", default) is None:
            return None
        return self.count("sliding_window", default)

    def number(self, name: str, default: float | None = None) -> float:
        """Return a positive finite number."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= float_info.max:
            raise self.unfit(name, "a positive number", value)
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self.unfit(name, "true or false", value)
        return value

    def choice(self, name: str, default: str, allowed: Sequence[str]) -> str:
        """Return one of these words."""
        value = self._get(name, default)
        if value not in allowed:
            raise self.unfit(name, f"one of {', '.join(allowed)}, which are what is supported", value)
        return value

    def only(self, name: str, allowed: bool | float) -> None:
        """Check that an option, if it is there, has the one value that is supported."""
        value = self._get(name, allowed)
        if value != allowed:
            raise self.unfit(name, f"{allowed}, which alone is supported", value)

    def unfit(self, name: str, expected: str, value: object) -> ConfigError:
        """Return the error that says what was expected of a value."""
        got = "nothing" if value is None else shorten(value)
        return ConfigError(f"expected {name} in {self.path} to be {expected}; got {got}")

    def _get(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        return default if value is None else value
