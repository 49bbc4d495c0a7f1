"""What configs of tasks are written with. Imports nothing heavy: the command line derives its options from configs."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any, get_args
from unicodedata import normalize

from omniform.errors import ConfigError

__all__ = ["check_choices", "join_names", "option", "read_shares", "split_names"]


def option(default: Any, text: str) -> Any:
    """Declare a field that becomes an option of the command line, with its help."""
    return field(default=default, metadata={"help": text})


def split_names(text: str) -> tuple[str, ...]:
    """Read names separated by commas; a name that holds a comma is quoted as in CSV. Names are in Unicode's NFC."""
    return tuple(normalize("NFC", name.strip()) for name in next(csv.reader([text], skipinitialspace=True), []))


def join_names(names: Iterable[str]) -> str:
    """Write names so that `split_names` reads them back."""
    quoted = (f'"{name.replace(chr(34), chr(34) * 2)}"' if re.search(r'[",\s]', name) else name for name in names)
    return ",".join(quoted)


def check_choices(config: object, choices: Mapping[str, Any]) -> None:
    """Refuse a field whose value is not among its choices, a tuple or a `Literal`.

    Raises:
        ConfigError: names the field and the choices.
    """
    for name, allowed in choices.items():
        allowed = allowed if isinstance(allowed, tuple) else get_args(allowed)
        if getattr(config, name) not in allowed:
            raise ConfigError(f"expected {name} to be one of {', '.join(allowed)}, got {getattr(config, name)!r}")


def read_shares(text: str) -> tuple[float, float, float]:
    """Read the shares of training, validation and test, such as `"0.7,0.1,0.2"`.

    Raises:
        ConfigError: they are not three positive numbers of sum 1.
    """
    try:
        train, validation, test = (float(part) for part in text.split(","))
    except ValueError:
        train = validation = test = 0.0
    if not (min(train, validation, test) > 0 and abs(train + validation + test - 1) < 1e-6):
        raise ConfigError(f"expected a split of three shares of sum 1, such as 0.7,0.1,0.2; got {text!r}")
    return train, validation, test
