"""Whether code compiles, found out without running it and without letting it take the machine down."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

__all__ = ["Brackets", "Fault", "find_fault", "parse", "scan"]

_MOST_CHARACTERS = 100_000
_MOST_NESTED = 100

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_LEXEME = re.compile(
    r"""
    (?P<comment>\#[^\n]*)
    |(?P<string>(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?!"")(?:\\.|[^"\\\n])*"|'(?!'')(?:\\.|[^'\\\n])*'))
    |(?P<unclosed>\"{3}|'{3}|"|')
    |(?P<open>[(\[{])
    |(?P<close>[)\]}])
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why code does not compile, and the line, counted from 1, that the compiler names."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Brackets:
    """What is open at the end of code.

    Attributes:
        quote: the delimiter of an open string, empty if there is none.
        closing: what closes all open brackets, innermost first.
        nested: how deep brackets nest at most.
    """

    quote: str
    closing: str
    nested: int


def scan(code: str) -> Brackets:
    """Read strings, comments and brackets; a bracket that closes nothing is passed over."""
    stack: list[str] = []
    quote, nested = "", 0
    start = 0
    while match := _LEXEME.search(code, start):
        start = match.end()
        found = match[0]
        if match["unclosed"]:
            if len(found) == 3:
                quote = found
                break
            newline = code.find("\n", start)
            quote = found if newline < 0 else ""
            start = len(code) if newline < 0 else newline
        elif match["open"]:
            stack.append(_CLOSING[found])
            nested = max(nested, len(stack))
        elif match["close"] and stack and stack[-1] == found:
            stack.pop()
    return Brackets(quote, "".join(reversed(stack)), nested)


def find_fault(code: str) -> Fault | None:
    """Return why code does not compile, `None` if it does; it is never executed.

    Code that is very long or deeply nested is refused unread, and what exhausts the compiler's stack is no better.
    """
    if len(code) > _MOST_CHARACTERS:
        return Fault(1, f"longer than {_MOST_CHARACTERS} characters")
    if scan(code).nested > _MOST_NESTED:
        return Fault(1, f"brackets nested deeper than {_MOST_NESTED}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the suggestion, not about us
            compile(code, "<suggestion>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return Fault(error.lineno or 1, error.msg)
    except (ValueError, OverflowError) as error:  # null bytes, lone surrogates, numbers out of range
        return Fault(1, str(error))
    except (RecursionError, MemoryError):
        return Fault(1, "nested deeper than the compiler can follow")
    return None


def parse(code: str) -> ast.Module:
    """Return the syntax tree of code that compiles, without Python's warnings about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code)
