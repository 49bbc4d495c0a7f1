r"""How good code is, as far as static analysers tell; nothing is executed.

.. math:: \text{score} = \frac{1}{1 + \sum_f w_f}

over findings f. A weight is severity times confidence for security (bandit), and smaller for errors (pyflakes) and for
what is hard to maintain (complexity, long lines). Source of the idea: FRANC, arXiv 2307.08220.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from omniform.errors import DataError
from omniform_codegen.franc.compiling import find_fault, parse
from omniform_codegen.security import security_issues

__all__ = ["Finding", "Quality", "assess"]

_SEVERITY = {"UNDEFINED": 1.0, "LOW": 1.0, "MEDIUM": 4.0, "HIGH": 10.0}
_CONFIDENCE = {"UNDEFINED": 0.2, "LOW": 0.3, "MEDIUM": 0.6, "HIGH": 1.0}
_UNDEFINED, _FLAW = 2.0, 0.5
_COMPLEX, _LONG = 0.2, 0.05
_MOST_COMPLEX = 10
"""Branches of a function beyond which McCabe advised to divide it."""
_LONGEST = 120

_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.Assert, ast.comprehension)
_HAPPENSTANCE = {"UnusedImport"}  # a prompt imports what a suggestion need not use


@dataclass(frozen=True, slots=True)
class Finding:
    """What an analyser has to say.

    Attributes:
        kind: what it is about.
        rule: the analyser's name for it, such as `"B602"`.
        line: counted from 1.
        message: a sentence.
        weight: how much it counts.
    """

    kind: Literal["security", "error", "maintainability"]
    rule: str
    line: int
    message: str
    weight: float


@dataclass(frozen=True, slots=True)
class Quality:
    """The score, above 0 and at most 1, and the findings behind it, the weightiest first."""

    score: float
    findings: tuple[Finding, ...]


def assess(code: str) -> Quality:
    """Return the quality of code that compiles.

    Raises:
        DataError: it does not.
    """
    fault = find_fault(code)
    if fault is not None:
        raise DataError(f"expected code that compiles, got {fault.message!r} in line {fault.line}; filter it first")
    try:
        found = [*_security(code), *_errors(code), *_maintainability(code)]
    except RecursionError:
        found = [Finding("error", "nesting", 1, "is nested too deep to be analysed", _SEVERITY["HIGH"])]
    found.sort(key=lambda finding: (-finding.weight, finding.line))
    return Quality(1 / (1 + sum(finding.weight for finding in found)), tuple(found))


def _security(code: str) -> Iterator[Finding]:
    """Yield what bandit finds; a suggestion cannot silence it with `# nosec`."""
    for issue in security_issues(code.encode()):
        weight = _SEVERITY[issue.severity] * _CONFIDENCE[issue.confidence]
        yield Finding("security", issue.test_id, issue.lineno, _sentence(issue.text), weight)


def _errors(code: str) -> Iterator[Finding]:
    """Yield what pyflakes finds."""
    from pyflakes.checker import Checker

    messages = Checker(parse(code)).messages
    for message in messages:
        rule = type(message).__name__
        if rule not in _HAPPENSTANCE:
            weight = _UNDEFINED if rule.startswith("Undefined") else _FLAW
            yield Finding("error", rule, message.lineno, _sentence(message.message % message.message_args), weight)


def _maintainability(code: str) -> Iterator[Finding]:
    """Yield functions of many branches, and long lines."""
    for node in ast.walk(parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            complexity = _complexity(node)
            if complexity > _MOST_COMPLEX:
                said = f"the function {node.name} has a complexity of {complexity}, more than {_MOST_COMPLEX}"
                yield Finding(
                    "maintainability", "complexity", node.lineno, said, _COMPLEX * (complexity - _MOST_COMPLEX)
                )
    for number, line in enumerate(code.splitlines(), 1):
        if len(line) > _LONGEST:
            said = f"the line has {len(line)} characters, more than {_LONGEST}"
            yield Finding("maintainability", "line-length", number, said, _LONG)


def _complexity(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return McCabe's number: one, and one for each branch; an `and` or `or` is one too."""
    branches = sum(isinstance(node, _BRANCHES) for node in ast.walk(function))
    return 1 + branches + sum(len(n.values) - 1 for n in ast.walk(function) if isinstance(n, ast.BoolOp))


def _sentence(text: str) -> str:
    return " ".join(text.split())
