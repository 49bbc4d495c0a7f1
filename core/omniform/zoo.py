"""The zoo: one typed table of every system in the project, the core's and those of plugins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from omniform.errors import ConfigError
from omniform.plugins import host, suggest
from omniform.specs import System

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["as_json", "as_markdown", "as_table", "describe", "find", "paper_link", "select"]


def select(systems: Iterable[System], *, kind: str | None = None, domain: str | None = None) -> tuple[System, ...]:
    """Keep the systems of one kind, of one domain, or both.

    Raises:
        ConfigError: a kind or domain that no system has.
    """
    systems = tuple(systems)
    for wanted, known in ((kind, {s.kind for s in systems}), (domain, {s.domain for s in systems})):
        if wanted is not None and wanted not in known:
            raise ConfigError(f"no system of {wanted!r} in the zoo; {suggest(wanted, sorted(known))}")
    return tuple(s for s in systems if kind in (None, s.kind) and domain in (None, s.domain))


def find(name: str) -> System:
    """Return the row of that id.

    Raises:
        ConfigError: there is none.
    """
    rows = {system.id: system for system in host().systems}
    if name not in rows:
        raise ConfigError(f"no system {name!r} in the zoo; {suggest(name, list(rows))}")
    return rows[name]


def as_json(system: System) -> dict[str, Any]:
    """Return the row in the shape that `omniform zoo --json` prints."""
    return {
        "id": system.id,
        "kind": system.kind,
        "mixer": system.mixer,
        "title": system.title,
        "paper": system.paper,
        "domain": system.domain,
        "ranks": list(system.ranks),
        "causal": system.causal,
        "stateful": system.stateful,
        "cost": system.cost,
        "check": system.check,
    }


def as_table(systems: Sequence[System]) -> Table:
    """Lay the rows out for a terminal."""
    from rich.table import Table

    table = Table("id", "kind", "title", "paper", "domain", "ranks", "causal", "state", "cost")
    for system in systems:
        table.add_row(*_cells(system))
    return table


def as_markdown(systems: Sequence[System]) -> str:
    """Write the page of the documentation: a table for each kind, in the order of first appearance."""
    mixers = sum(system.mixer for system in systems)
    lines = [
        "# The zoo",
        "",
        "Generated from the table of systems by `python docs/generate_zoo.py`; do not edit.",
        f"{len(systems)} systems, {mixers} of which may stand behind `--mixer`.",
    ]
    for kind in dict.fromkeys(system.kind for system in systems):
        header = ("id", "title", "paper", "domain", "ranks", "causal", "state", "cost", "check")
        lines += ["", f"## {kind}", "", f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
        lines += [_markdown_row(system) for system in systems if system.kind == kind]
    return "\n".join(lines) + "\n"


def describe(system: System) -> str:
    """Write everything on one system, a line each."""
    facts = {
        "kind": system.kind + (f" (--mixer {system.id})" if system.mixer else ""),
        "paper": paper_link(system.paper),
        "domain": system.domain,
        "ranks": _ranks(system),
        "causal": system.causal or "",
        "stateful": _yes(system.stateful),
        "cost": system.cost or "",
        "code": system.code.path,
        "check": system.check,
    }
    lines = [f"{system.id}: {system.title}", *(f"  {name:<9} {value}" for name, value in facts.items() if value)]
    return "\n".join(lines)


def paper_link(paper: str) -> str:
    """Return the address of an arXiv id; any other reference as it is."""
    number, _, version = paper.partition(".")
    return f"https://arxiv.org/abs/{paper}" if len(number) == 4 and (number + version).isdigit() else paper


def _markdown_row(system: System) -> str:
    name, _, title, _, *rest = _cells(system)
    link = paper_link(system.paper)
    paper = f"[{system.paper}]({link})" if link != system.paper else system.paper
    cells = [f"`{name}`", title, paper, *rest, f"`{system.check}`" if system.check else ""]
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _cells(system: System) -> tuple[str, ...]:
    return (
        system.id,
        system.kind,
        system.title,
        system.paper,
        system.domain,
        _ranks(system),
        system.causal or "",
        _yes(system.stateful),
        system.cost or "",
    )


def _ranks(system: System) -> str:
    return ", ".join(map(str, system.ranks))


def _yes(value: bool | None) -> str:
    return {None: "", True: "yes", False: "no"}[value]
