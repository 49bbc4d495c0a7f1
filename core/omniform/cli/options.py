"""Command-line options derived from the fields of frozen dataclasses.

A command's body takes whole objects (`config: Config`); Typer wants a flat signature. `with_slots` gives the body such
a signature: in place of each object stand the options from which it is built.

A field becomes `--field-name`. Its type is one of int, float, str, bool, Path, a `Literal`, any of these `| None`, or a
`tuple[T, ...]` of int, float or str, written with commas. Its metadata may hold `help` and `short`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from omniform.errors import ConfigError, PluginError

__all__ = ["Slot", "fields_slot", "markup_free", "with_slots"]

_SCALARS = (int, float, str, bool, Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One object that a command's body takes: its keyword there, the options that stand for it, and how to build it."""

    keyword: str
    parameters: tuple[inspect.Parameter, ...]
    build: Callable[[Mapping[str, Any]], Any]


def fields_slot(keyword: str, config: type, panel: str) -> Slot:
    """Derive a slot from a dataclass; its options share a panel of the help.

    Raises:
        PluginError: a field has a type that no option can carry.
    """
    hints = get_type_hints(config)
    fields = [field for field in dataclasses.fields(config) if field.init]
    parameters = tuple(_parameter(config, field, hints[field.name], panel) for field in fields)

    def build(values: Mapping[str, Any]) -> Any:
        return config(**{field.name: _value(field.name, hints[field.name], values[field.name]) for field in fields})

    return Slot(keyword=keyword, parameters=parameters, build=build)


def with_slots(body: Callable[..., None], *slots: Slot) -> Callable[..., None]:
    """Return `body` with a flat signature: each slot's keyword replaced by the slot's options.

    Raises:
        PluginError: two options have one name.
    """
    by_keyword = {slot.keyword: slot for slot in slots}
    parameters: dict[str, inspect.Parameter] = {}
    for own in inspect.signature(body).parameters.values():
        slot = by_keyword.get(own.name)
        for parameter in slot.parameters if slot else (own.replace(kind=inspect.Parameter.KEYWORD_ONLY),):
            if parameter.name in parameters:
                raise PluginError(
                    f"two options are called {_flag(parameter.name)}; rename a field of the task's config"
                )
            parameters[parameter.name] = parameter
    taken = {parameter.name for slot in slots for parameter in slot.parameters}

    def command(**values: Any) -> None:
        built = {slot.keyword: slot.build(values) for slot in slots}
        body(**{name: value for name, value in values.items() if name not in taken}, **built)

    command.__doc__ = body.__doc__
    command.__signature__ = inspect.Signature(list(parameters.values()))  # pyright: ignore[reportFunctionMemberAccess]
    return command


def markup_free(text: str) -> str:
    """Escape brackets, which Typer's help would read as markup."""
    return text.replace("[", r"\[")


def _parameter(config: type, field: dataclasses.Field[Any], hint: Any, panel: str) -> inspect.Parameter:
    item = _tuple_item(hint)
    if item is None and not _is_plain(hint):
        raise PluginError(f"the field {config.__name__}.{field.name} has a type that no option can carry: {hint}")
    flag = _flag(field.name)
    names = [f"{flag}/--no-{flag[2:]}" if hint is bool else flag, *filter(None, [field.metadata.get("short")])]
    option = typer.Option(*names, help=markup_free(field.metadata.get("help", "")), rich_help_panel=panel)
    default = _default(field)
    if item is not None:
        hint, default = str, ",".join(map(str, default)) if isinstance(default, tuple) else default
    annotation = Annotated[hint, option]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty


def _is_plain(hint: Any) -> bool:
    """Tell whether Typer reads this type by itself."""
    if get_origin(hint) in (Union, UnionType):
        rest = [part for part in get_args(hint) if part is not NoneType]
        return len(rest) == 1 and len(rest) < len(get_args(hint)) and _is_plain(rest[0])
    return hint in _SCALARS or get_origin(hint) is Literal


def _tuple_item(hint: Any) -> type | None:
    """Return `T` of `tuple[T, ...]`, `None` for anything else."""
    arguments = get_args(hint)
    if get_origin(hint) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis and arguments[0] in _SCALARS[:3]:
        return arguments[0]
    return None


def _value(name: str, hint: Any, value: Any) -> Any:
    """Read the comma text of a tuple field; anything else is as Typer left it."""
    item = _tuple_item(hint)
    if item is None:
        return value
    try:
        return tuple(item(part.strip()) for part in value.split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"expected {_flag(name)} as {item.__name__}s with commas between, got {value!r}") from None


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
