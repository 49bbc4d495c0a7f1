"""What bandit says about a snippet that need not parse."""

from __future__ import annotations

from typing import Any

from omniform_codegen.scanning.statements import last_statement, repaired
from omniform_codegen.security import security_issues
from omniform_codegen.spans import syntax_tree

__all__ = ["bandit_types"]

_TYPES = {
    "CWE-22": ("B202",),
    "CWE-78": ("B601", "B602", "B604", "B605", "B609"),
    "CWE-79": ("B308", "B701", "B702", "B703", "B704"),
    "CWE-89": ("B608", "B610", "B611"),
    "CWE-95": ("B102", "B307"),
    "CWE-295": ("B323", "B501", "B507"),
    "CWE-327": ("B303", "B304", "B305", "B324", "B502", "B503", "B504", "B505"),
    "CWE-330": ("B311",),
    "CWE-377": ("B108", "B306"),
    "CWE-489": ("B201",),
    "CWE-502": ("B301", "B302", "B506", "B614"),
    "CWE-611": ("B313", "B314", "B315", "B316", "B317", "B318", "B319", "B320"),
    "CWE-703": ("B101",),
    "CWE-732": ("B103",),
    "CWE-798": ("B105", "B106", "B107"),
    "CWE-918": ("B310",),
}
_TYPE_OF = {test: cwe for cwe, tests in _TYPES.items() for test in tests}


def bandit_types(code: bytes) -> tuple[str, ...]:
    """Return the types that bandit finds in the last statement, in ascending order.

    Code that does not parse is offered again with what was cut off closed, and at last without its last statement; of
    what cannot be parsed at all bandit says nothing.

    Raises:
        PluginError: bandit is not installed.
    """
    first = code.count(b"\n", 0, last_statement(code)[0]) + 1
    for text in repaired(code):
        if syntax_tree(text) is None:
            continue
        issues = security_issues(text)
        found = {_TYPE_OF[issue.test_id] for issue in issues if issue.test_id in _TYPE_OF and _last(issue) >= first}
        return tuple(cwe for cwe in _TYPES if cwe in found)
    return ()


def _last(issue: Any) -> int:
    return max([issue.lineno, *issue.linerange])
