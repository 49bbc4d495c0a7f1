"""The hooks that a plugin may implement.

A plugin is a module that an entry point of the group `omniform` names. It marks its functions with `hookimpl`:

    from omniform.hookspecs import hookimpl

    @hookimpl
    def omniform_domains():
        return (DOMAIN,)
"""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from omniform.specs import Domain, System

__all__ = ["PROJECT", "hookimpl", "omniform_domains", "omniform_systems"]

PROJECT = "omniform"
"""The name of the entry-point group, and what pluggy calls the project."""

_hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@_hookspec
def omniform_domains() -> Sequence[Domain]:
    """Return the domains that the plugin adds; called once, imports nothing heavy."""
    return ()


@_hookspec
def omniform_systems() -> Sequence[System]:
    """Return the plugin's rows of the zoo; a row with `mixer=True` may stand behind `--mixer`."""
    return ()
