"""The plugin host: finds plugins, loads each one guarded, and says what came of it.

Discovery imports no torch: plugins hand over light specs (`omniform.specs`) whose heavy parts are lazy references.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import pluggy

from omniform import hookspecs
from omniform.errors import ConfigError, PluginError
from omniform.specs import Domain, System
from omniform.systems import SYSTEMS

if TYPE_CHECKING:
    from omniform.mixers.base import Mixer

__all__ = [
    "SHARED_COMMANDS",
    "FailedPlugin",
    "Host",
    "LoadedPlugin",
    "MissingExtra",
    "discover",
    "find_mixer",
    "host",
    "suggest",
]

SHARED_COMMANDS = frozenset({"compare", "evaluate", "export", "predict", "train"})
"""Commands that every domain has; no verb of a domain's own may take one of these names."""

SpecT = TypeVar("SpecT", Domain, System)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPlugin:
    """A plugin that loaded: where it came from, and the names of what it gave."""

    name: str
    module: str
    distribution: str
    version: str
    domains: tuple[str, ...]
    systems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedPlugin:
    """A plugin that did not load: the error in a line, and its whole traceback."""

    name: str
    module: str
    distribution: str
    version: str
    error: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingExtra:
    """A domain that is installed without the modules it needs, and the command that adds them."""

    domain: Domain
    modules: tuple[str, ...]
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Everything that discovery found.

    Attributes:
        domains: those that can be used, in the order of their plugins.
        systems: all rows of the zoo, the core's first.
        loaded, failed: one entry per plugin.
        missing: domains that lack their extra.
    """

    domains: tuple[Domain, ...]
    systems: tuple[System, ...]
    loaded: tuple[LoadedPlugin, ...]
    failed: tuple[FailedPlugin, ...]
    missing: tuple[MissingExtra, ...]

    def domain(self, name: str) -> Domain:
        """Return the domain of that name.

        Raises:
            PluginError: no plugin gives it, or it lacks its extra.
        """
        for domain in self.domains:
            if domain.name == name:
                return domain
        for lack in self.missing:
            if lack.domain.name == name:
                raise PluginError(f"the domain {name!r} needs {', '.join(lack.modules)}; run: {lack.remedy}")
        names = [domain.name for domain in self.domains]
        raise PluginError(f"no domain {name!r}; {suggest(name, names)}; `omniform plugins` shows what failed to load")


@cache
def host() -> Host:
    """Discover the plugins of this environment, once per process."""
    return discover(entry_points(group=hookspecs.PROJECT))


def discover(found: Iterable[EntryPoint], builtin: Sequence[System] = SYSTEMS) -> Host:
    """Load every entry point on its own; a failure is recorded and takes nobody else down."""
    domains: dict[str, Domain] = {}
    systems = {system.id: system for system in builtin}
    owners = {f"system {name!r}": "omniform" for name in systems}
    loaded: list[LoadedPlugin] = []
    failed: list[FailedPlugin] = []
    missing: list[MissingExtra] = []
    for entry in _in_order(found):
        distribution, version = _distribution(entry)
        origin = {"name": entry.name, "module": entry.value, "distribution": distribution, "version": version}
        try:
            given = _load(entry)
            _claim(given, entry.value, owners)
        except (Exception, SystemExit) as error:
            trace = "".join(traceback.format_exception(error))
            failed.append(FailedPlugin(**origin, error=_one_line(error), traceback=trace))
            continue
        for domain in given.domains:
            if modules := tuple(name for name in domain.requires if find_spec(name.partition(".")[0]) is None):
                missing.append(MissingExtra(domain=domain, modules=modules, remedy=_remedy(domain, distribution)))
            else:
                domains[domain.name] = domain
        systems |= {system.id: system for system in given.systems}
        names, ids = tuple(d.name for d in given.domains), tuple(s.id for s in given.systems)
        loaded.append(LoadedPlugin(**origin, domains=names, systems=ids))
    return Host(
        domains=tuple(domains.values()),
        systems=tuple(systems.values()),
        loaded=tuple(loaded),
        failed=tuple(failed),
        missing=tuple(missing),
    )


def find_mixer(name: str) -> type[Mixer]:
    """Return the mixer class behind a zoo id.

    Raises:
        ConfigError: no row of the zoo has this id, or its row is no token mixer.
        PluginError: the class cannot be imported.
    """
    rows = {system.id: system for system in host().systems}
    mixers = [system.id for system in rows.values() if system.mixer]
    if name not in rows:
        raise ConfigError(f"no mixer {name!r}; {suggest(name, mixers)}")
    if not rows[name].mixer:
        raise ConfigError(f"{name!r} is a {rows[name].kind}, not a token mixer; {suggest(name, mixers)}")
    return rows[name].code.load()


def suggest(word: str, choices: Sequence[str]) -> str:
    """Return "did you mean ..." for a near miss, else all that there is to choose from."""
    if near := get_close_matches(word, choices, n=3):
        return f"did you mean {' or '.join(near)}?"
    return f"choose from {', '.join(sorted(choices))}" if choices else "there is none to choose from"


@dataclass(frozen=True, slots=True)
class _Given:
    """What one plugin handed over."""

    domains: tuple[Domain, ...]
    systems: tuple[System, ...]


def _in_order(found: Iterable[EntryPoint]) -> list[EntryPoint]:
    """De-duplicate by name and value; sort, omniform's own first, so that a stranger cannot take a built-in's name."""
    unique = {(entry.name, entry.value): entry for entry in found}
    return sorted(unique.values(), key=lambda entry: (_distribution(entry)[0] != "omniform", entry.name, entry.value))


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else ("", "")


def _load(entry: EntryPoint) -> _Given:
    """Import one plugin and call its hooks, in a manager of its own so that its faults stay its own."""
    module = entry.load()
    if not isinstance(module, ModuleType):
        raise PluginError(f"the entry point must name a module, {entry.value!r} is a {type(module).__name__}")
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(module, entry.name)
    manager.check_pending()
    _refuse_unmarked(module, manager)
    given = _Given(
        domains=_collect(manager.hook.omniform_domains(), Domain),
        systems=_collect(manager.hook.omniform_systems(), System),
    )
    for domain in given.domains:
        _check_commands(domain)
    return given


def _refuse_unmarked(module: ModuleType, manager: pluggy.PluginManager) -> None:
    """Refuse functions that look like hooks and are none: pluggy passes over what lacks the marker."""
    marked = {caller.name for caller in manager.get_hookcallers(module) or ()}
    known = [name for name in hookspecs.__all__ if name.startswith("omniform_")]
    for name, value in vars(module).items():
        if name.startswith("omniform_") and name not in marked and callable(value):
            if name in known:
                raise PluginError(f"the hook {name} lacks its marker; put @hookimpl above it")
            raise PluginError(f"unknown hook {name}; {suggest(name, known)}")


def _collect(results: Sequence[Sequence[SpecT]], kind: type[SpecT]) -> tuple[SpecT, ...]:
    """Flatten what the implementations of a hook returned, and check its type."""
    for result in results:
        if not isinstance(result, Sequence) or not all(isinstance(spec, kind) for spec in result):
            raise PluginError(f"expected a hook to return a sequence of {kind.__name__}, got {result!r}")
    return tuple(spec for result in results for spec in result)


def _check_commands(domain: Domain) -> None:
    tasks, verbs = [task.name for task in domain.tasks], [verb.name for verb in domain.verbs]
    if not tasks:
        raise PluginError(f"the domain {domain.name!r} has no task; give it at least one")
    for names, what in ((tasks, "tasks"), (verbs, "verbs")):
        if len(set(names)) < len(names):
            raise PluginError(f"the domain {domain.name!r} has two {what} of one name: {', '.join(names)}")
    for verb in domain.verbs:
        if verb.extends != (verb.name in SHARED_COMMANDS):
            which = "extends no command" if verb.extends else "all domains have; mark it as extending that"
            raise PluginError(f"the domain {domain.name!r} names a verb {verb.name}, which {which}")


def _claim(given: _Given, module: str, owners: dict[str, str]) -> None:
    """Enter the names that a plugin gives, all or none; refuse those that are taken."""
    mine: dict[str, str] = {}
    keys = [f"domain {domain.name!r}" for domain in given.domains] + [f"system {s.id!r}" for s in given.systems]
    for key in keys:
        if owner := owners.get(key) or mine.get(key):
            raise PluginError(f"the {key} is already given by {owner}; rename it, or uninstall one of the two")
        mine[key] = module
    owners.update(mine)


def _remedy(domain: Domain, distribution: str) -> str:
    """Return the command that installs what a domain lacks."""
    if domain.extra is not None:
        return f'pip install "omniform[{domain.extra}]"'
    return f'pip install "{distribution}"' if distribution else f"pip install {' '.join(domain.requires)}"


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
