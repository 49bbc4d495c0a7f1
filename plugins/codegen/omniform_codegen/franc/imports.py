"""Imports that code lacks, from a table of what the standard library is mostly used for."""

from __future__ import annotations

import ast

from omniform_codegen.franc.compiling import parse

__all__ = ["add_imports", "missing_imports", "undefined_names"]

_MODULES = (
    "abc argparse array ast asyncio base64 bisect calendar cmath collections contextlib copy csv ctypes dataclasses "
    "datetime decimal difflib enum fractions functools glob gzip hashlib heapq hmac html io itertools json logging "
    "math operator os pathlib pickle platform pprint queue random re secrets shutil signal socket sqlite3 statistics "
    "string struct subprocess sys tempfile textwrap threading time traceback typing unicodedata urllib uuid warnings "
    "zipfile zlib"
)
_NAMES = {
    "abc": "ABC abstractmethod",
    "collections": "ChainMap Counter OrderedDict defaultdict deque namedtuple",
    "contextlib": "contextmanager suppress",
    "copy": "deepcopy",
    "dataclasses": "asdict dataclass field",
    "datetime": "timedelta timezone",
    "decimal": "Decimal ROUND_HALF_UP",
    "enum": "Enum IntEnum auto",
    "fractions": "Fraction",
    "functools": "cache cached_property cmp_to_key lru_cache partial reduce wraps",
    "heapq": "heapify heappop heappush nlargest nsmallest",
    "io": "BytesIO StringIO",
    "itertools": "accumulate chain combinations combinations_with_replacement cycle groupby islice pairwise "
    "permutations product takewhile zip_longest",
    "math": "ceil factorial floor gcd inf isqrt sqrt",
    "operator": "attrgetter itemgetter",
    "pathlib": "Path",
    "typing": "Any Callable Dict FrozenSet Generator Generic Iterable Iterator List Literal Mapping NamedTuple "
    "Optional Protocol Sequence Set Tuple Type TypeVar Union",
}
_IMPORTABLE = frozenset(_MODULES.split())
_SOURCE = {name: module for module, names in _NAMES.items() for name in names.split()}


def undefined_names(code: str) -> list[str]:
    """Return names that code uses and nothing defines, in order; code must compile."""
    from pyflakes.checker import Checker
    from pyflakes.messages import UndefinedName

    try:
        messages = Checker(parse(code)).messages
    except RecursionError:
        return []  # it compiles, and is too deep to be looked at
    found = sorted((message for message in messages if isinstance(message, UndefinedName)), key=lambda m: m.lineno)
    return list(dict.fromkeys(str(message.message_args[0]) for message in found))


def missing_imports(code: str) -> tuple[str, ...]:
    """Return the import lines, sorted, that define undefined names; names that are not in the table are left alone.

    A module is imported for a name only where an attribute is taken of it: `string.digits`, not `string`.
    """
    undefined = undefined_names(code)
    if not undefined:
        return ()
    owners: dict[str, set[str]] = {}
    for node in ast.walk(parse(code)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owners.setdefault(node.value.id, set()).add(node.attr)
    return tuple(sorted(filter(None, (_import(name, owners.get(name, set())) for name in undefined))))


def add_imports(code: str, lines: tuple[str, ...]) -> str:
    """Return the code with import lines where imports may stand first: behind docstring and `__future__`."""
    if not lines:
        return code
    tree = parse(code)
    first = tree.body[1:] if ast.get_docstring(tree, clean=False) is not None else tree.body
    place = (tree.body[0].end_lineno or 0) if first is not tree.body else 0
    for node in first:
        if not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            break
        place = node.end_lineno or 0
    before = code.split("\n")  # as the compiler counts them; `splitlines` knows more ends of lines
    if place == 0 and before[0].startswith("#!"):
        place = 1
    return "\n".join([*before[:place], *lines, *before[place:]])


def _import(name: str, attributes: set[str]) -> str:
    if name == "datetime" and attributes.isdisjoint({"datetime", "date", "time", "timedelta", "timezone"}):
        return "from datetime import datetime"
    if name in _SOURCE:
        return f"from {_SOURCE[name]} import {name}"
    return f"import {name}" if name in _IMPORTABLE and attributes else ""
