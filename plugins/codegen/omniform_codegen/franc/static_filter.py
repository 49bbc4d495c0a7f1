"""The static filter: suggestions repaired until they compile, and those that cannot be, dropped.

Code that compiles and lacks no import is returned as it came; so is what the filter returned before. Nothing is ever
executed. Source: FRANC, arXiv 2307.08220.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from omniform_codegen.franc.compiling import find_fault, parse
from omniform_codegen.franc.heuristics import close, cut_after_function, readings, salvage
from omniform_codegen.franc.imports import add_imports, missing_imports

__all__ = ["Dropped", "Filtered", "Mended", "filter_suggestions", "mend"]


@dataclass(frozen=True, slots=True)
class Mended:
    """Code that compiles: the prompt and a suggestion, repaired.

    Attributes:
        suggestion: which one it came from.
        code: prompt and suggestion together; imports may stand before both.
        changes: what was done, in words; none if it was taken as it came.
        compiled: whether it compiled as it came.
    """

    suggestion: int
    code: str
    changes: tuple[str, ...]
    compiled: bool


@dataclass(frozen=True, slots=True)
class Dropped:
    """A suggestion of which nothing could be made, and why."""

    suggestion: int
    reason: str


@dataclass(frozen=True, slots=True)
class Filtered:
    """What came through, in the order of the suggestions, and what did not."""

    kept: tuple[Mended, ...]
    dropped: tuple[Dropped, ...]


def filter_suggestions(prompt: str, suggestions: Sequence[str]) -> Filtered:
    """Repair every suggestion that continues `prompt`, or drop it."""
    results = [mend(prompt, suggestion, number) for number, suggestion in enumerate(suggestions)]
    return Filtered(
        tuple(result for result in results if isinstance(result, Mended)),
        tuple(result for result in results if isinstance(result, Dropped)),
    )


def mend(prompt: str, suggestion: str, number: int = 0) -> Mended | Dropped:
    """Return the code that a suggestion makes of a prompt, or why it makes none.

    Fences and prose go, indentation is fitted to the prompt, text behind the function is cut; if nothing of this
    compiles, what remains of it before the first fault may, its last statement closed. Of several ways the first that
    needs no cut is taken, or the one that keeps the most. At last come imports.
    """
    whole = prompt + suggestion
    fault = find_fault(whole)
    compiled = fault is None
    least = _statements(prompt) or _statements(close(prompt))  # a prompt mostly ends where a body is to begin
    found = (whole, "") if fault is None and _statements(whole) > least else _compiling(prompt, suggestion, least)
    if found is None:
        return Dropped(number, "nothing is left that does anything" if fault is None else fault.message)
    code, done = found
    imports = missing_imports(code)
    changes = (*filter(None, [done]), *(f"added {line}" for line in imports))
    return Mended(number, add_imports(code, imports), changes, compiled)


def _compiling(prompt: str, suggestion: str, least: int) -> tuple[str, str] | None:
    """Return the first reading that compiles, or the longest part of one that does, and what was done."""
    options = readings(prompt, suggestion)
    for code, done in options.items():
        if _statements(code) > least:
            return code, done
    cut = [(cut_after_function(prompt, code), done, "cut after the function") for code, done in options.items()]
    found = _longest(cut, least)
    if found is None:
        kept = prompt.count("\n")
        found = _longest([(salvage(code, kept), done, "end repaired") for code, done in options.items()], least)
    return found


def _longest(options: Sequence[tuple[str | None, str, str]], least: int) -> tuple[str, str] | None:
    """Return the longest code that compiles and does something, and what was done."""
    working = [(code, done, how) for code, done, how in options if code is not None and _statements(code) > least]
    if not working:
        return None
    code, done, how = max(working, key=lambda option: len(option[0]))
    return code, f"{done}, {how}" if done else how


def _statements(code: str) -> int:
    """Return the number of statements that do something; 0 for code that does not compile."""
    if find_fault(code) is not None:
        return 0
    statements = (node for node in ast.walk(parse(code)) if isinstance(node, ast.stmt))
    return sum(not isinstance(node, ast.Pass) and not _is_constant(node) for node in statements)


def _is_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
