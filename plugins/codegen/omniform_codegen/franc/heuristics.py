"""Guesses at what a suggestion was meant to be: ways to read the same text, and ways to end it.

A suggestion continues a prompt; lines are counted from the first of both together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from omniform_codegen.franc.compiling import find_fault, scan

__all__ = ["close", "cut_after_function", "readings", "salvage"]

_TAB = 4
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*\n?", re.MULTILINE)
_FUNCTION = re.compile(r"^([ \t]*)(?:async[ \t]+)?def[ \t]+(\w+)", re.MULTILINE)
_OPENS_BLOCK = re.compile(r":[ \t]*(?:#.*)?$")
_MOST_TRIES = 60


def readings(prompt: str, suggestion: str) -> dict[str, str]:
    """Return what the code may be, the plainest first, each with what was done to it (nothing: `""`)."""
    found: dict[str, str] = {}
    texts = [(suggestion, ""), *_unfenced(suggestion)]
    for text, done in texts:
        for whole in _restated(prompt, text):
            found.setdefault(whole, _both(done, "prompt restated"))
        found.setdefault(prompt + text, done)
    for text, done in texts:
        for indented, how in _indented(prompt, text):
            found.setdefault(prompt + indented, _both(done, how))
    return found


def cut_after_function(prompt: str, code: str) -> str | None:
    """Return the code up to the first line that is indented no deeper than the prompt's function, `None` if all is."""
    begun = _last_function(prompt)
    if begun is None:
        return None
    lines = code.splitlines(keepends=True)
    start = prompt.count("\n")
    width = len(begun[1].expandtabs(_TAB))
    for place in range(start, len(lines)):
        line = lines[place]
        if line.strip() and len(_indentation(line).expandtabs(_TAB)) <= width and line[0] not in ")]}":
            body = any(before.strip() for before in lines[start:place])
            return "".join(lines[:place]).rstrip() + "\n" if body else None
    return None


def salvage(code: str, kept: int) -> str | None:
    """Return the code without what stands at its end and does not compile, its last statement closed where that helps.

    Args:
        kept: how many lines of the beginning must stay.
    """
    lines = code.split("\n")  # as the compiler counts them; `splitlines` knows more ends of lines
    for _ in range(_MOST_TRIES):
        if len(lines) <= kept:
            return None
        text = "\n".join(lines) + "\n"
        fault = find_fault(text)
        if fault is None:
            return text
        closed = close(text)
        if closed != text and find_fault(closed) is None:
            return closed
        cut = fault.line - 1 if fault.line > kept else len(lines)
        lines = lines[: min(cut, len(lines) - 1)]
    return None


def close(code: str) -> str:
    """Return the code with its open string, brackets and last block closed."""
    text = code.rstrip()
    ends = scan(text)
    text = text + ends.quote + ends.closing
    last = text.rpartition("\n")[2]
    if _OPENS_BLOCK.search(last) and not ends.closing:
        text += "\n" + _indentation(last) + " " * _TAB + "pass"
    return text + "\n"


def _unfenced(suggestion: str) -> Iterator[tuple[str, str]]:
    """Yield what stands within the first pair of Markdown fences, and what stands before the first."""
    fences = list(_FENCE.finditer(suggestion))
    if fences:
        stop = fences[1].start() if len(fences) > 1 else len(suggestion)
        yield suggestion[fences[0].end() : stop], "fence removed"
        yield suggestion[: fences[0].start()], "cut at the fence"


def _restated(prompt: str, text: str) -> Iterator[str]:
    """Yield the code whose function, which the prompt began, the text defines again from its first line on."""
    begun = _last_function(prompt)
    for again in _FUNCTION.finditer(text):
        if begun is not None and again[2] == begun[2] and again[1] == begun[1]:
            yield prompt[: begun.start()] + text[again.start() :]
            return


def _indented(prompt: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield the text with indentation that fits the prompt."""
    lines = [_untabbed(line) for line in text.splitlines(keepends=True)]
    widths = [len(_indentation(line)) for line in lines if line.strip()]
    if not widths:
        return
    if "\t" in text:
        yield "".join(lines), "tabs replaced"
    level = _expected(prompt)
    first = next(place for place, line in enumerate(lines) if line.strip())
    if widths[0] != level:
        aligned = [*lines[:first], " " * level + lines[first].lstrip(), *lines[first + 1 :]]
        yield "".join(aligned), "first line indented"
    if min(widths) != level:
        yield "".join(_shifted(line, level - min(widths)) for line in lines), "indentation shifted"
    rounded = [_widened(line, _TAB * round(len(_indentation(line)) / _TAB)) for line in lines]
    yield "".join(rounded), "indentation rounded"
    if min(widths) != level:
        least = min(len(_indentation(line)) for line in rounded if line.strip())
        yield "".join(_shifted(line, level - least) for line in rounded), "indentation rounded and shifted"


def _expected(prompt: str) -> int:
    """Return how deep what follows the prompt is indented: one level below its last function, if it just began."""
    lines = [line for line in prompt.splitlines() if line.strip()]
    begun = _last_function(prompt)
    if not lines:
        return 0
    last = len(_indentation(lines[-1]).expandtabs(_TAB))
    if begun is None:
        return last
    return max(last, len(begun[1].expandtabs(_TAB)) + _TAB)


def _last_function(prompt: str) -> re.Match[str] | None:
    found = list(_FUNCTION.finditer(prompt))
    return found[-1] if found else None


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _untabbed(line: str) -> str:
    return _widened(line, len(_indentation(line).expandtabs(_TAB)))


def _widened(line: str, width: int) -> str:
    return " " * width + line.lstrip(" \t") if line.strip() else line


def _shifted(line: str, by: int) -> str:
    return _widened(line, max(0, len(_indentation(line)) + by))


def _both(done: str, more: str) -> str:
    return f"{done}, {more}" if done else more
