"""What plugins hand to the host: frozen, typed, and light. Importing this module imports nothing heavy.

Heavy parts are lazy references, `Ref("omniform_medical.task:Segmentation")`, resolved when a command needs them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from omniform.errors import PluginError

__all__ = ["RESERVED_NAMES", "Domain", "Ref", "System", "TaskEntry", "Verb"]

RESERVED_NAMES = frozenset({"app", "bench", "demo", "doctor", "matrix", "plugins", "serve", "zoo"})
"""Top-level verbs of the command line; no domain may take one of these names."""

_NAME = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Ref:
    """A name to import later, written `"package.module:attribute"`.

    Raises:
        PluginError: on `load`, when the module or the attribute is not there.
    """

    path: str

    def __post_init__(self) -> None:
        module, _, attribute = self.path.partition(":")
        if not module or not attribute:
            raise ValueError(f"expected 'package.module:attribute', got {self.path!r}")

    def load(self) -> Any:
        """Import the module and return the attribute."""
        module, _, attribute = self.path.partition(":")
        try:
            target = import_module(module)
            for part in attribute.split("."):
                target = getattr(target, part)
        except (ImportError, AttributeError) as error:
            raise PluginError(f"cannot load {self.path!r}: {error}; reinstall the package that provides it") from error
        return target


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEntry:
    """One task of a domain: its name on the command line and where its `omniform.task.Task` class is."""

    name: str
    summary: str
    task: Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A command of a domain's own; `command` refers to a function that Typer can turn into a command.

    Attributes:
        extends: it stands in for the shared command of its name (`evaluate`): it takes all that this takes, and does
            the same with it and more. A verb of such a name without this mark is refused.
    """

    name: str
    summary: str
    command: Ref
    extends: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A field of work.

    Attributes:
        name: the word on the command line, lower case.
        extra: the extra of `omniform` that installs its dependencies; `None` for a third-party distribution.
        requires: importable names that must be present; if one is missing the domain is listed with its remedy.
        app: a function without arguments that draws the Streamlit page.
        demo: a function `(out: Path) -> CompareResult` that runs the main job on embedded data.
    """

    name: str
    title: str
    summary: str
    tasks: tuple[TaskEntry, ...]
    verbs: tuple[Verb, ...] = ()
    app: Ref | None = None
    demo: Ref | None = None
    extra: str | None = None
    requires: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"expected a domain name of lower-case letters, digits and hyphens, got {self.name!r}")
        if self.name in RESERVED_NAMES:
            raise ValueError(f"{self.name!r} is a command of omniform itself; choose another domain name")


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One row of the zoo: a system in the project, the paper it comes from, its code and its check.

    Attributes:
        id: the catalogue's id where the system is in it.
        kind: what it is. A `token-mixer` whose `code` is a `Mixer` class can stand behind `--mixer`.
        paper: arXiv id such as `"2312.00752"`, or another stable reference where there is no arXiv id.
        code: the class or function.
        check: the pytest node that proves it, relative to the repository (`tests/...::test_x`); third parties may
            leave it empty.
        mixer: true if the id may follow `--mixer`.
        ranks, causal, stateful, cost: the traits of a mixer, repeated here so that the zoo prints without torch (a
            test holds them equal to the class's own).
    """

    id: str
    kind: Literal[
        "token-mixer", "channel-mixer", "position", "norm-activation", "backbone", "dense-head", "pretraining",
        "adaptation", "compression", "runtime", "domain-system", "analysis", "floor",
    ]  # fmt: skip
    title: str
    paper: str
    code: Ref
    check: str = ""
    domain: str = "core"
    mixer: bool = False
    ranks: tuple[int, ...] = ()
    causal: Literal["never", "optional", "always"] | None = None
    stateful: bool | None = None
    cost: str | None = None
