"""Fixtures that put plugins of the test's own in front of the host."""

import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from omniform import plugins

Install = Callable[..., list[EntryPoint]]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Write modules and make the host see them as entry points, and nothing else: `install(toy="source")`."""
    found: list[EntryPoint] = []

    def add(**sources: str) -> list[EntryPoint]:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
            found.append(EntryPoint(name, name, "omniform"))
        return found

    modules = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "entry_points", lambda group: found)
    plugins.host.cache_clear()
    yield add
    plugins.host.cache_clear()
    for name in set(sys.modules) - modules:
        if (tmp_path / f"{name}.py").exists():
            del sys.modules[name]
