"""How near generated code comes to what was written: exactly, by edits, by names, and whether it parses."""

from __future__ import annotations

import keyword
import re

import numpy as np

from omniform_codegen.spans import syntax_tree

__all__ = ["edit_distance", "edit_similarity", "exact_match", "identifier_overlap", "parses"]

_NAME = re.compile(r"[^\W\d]\w*")


def exact_match(text: bytes, truth: bytes) -> bool:
    """Tell whether two pieces of code are the same but for white space at their ends on the right.

    CodeXGLUE (arXiv 2102.04664) compares `split()`s, which forgives indentation and blanks within too; Python does not.
    """
    return text.rstrip() == truth.rstrip()


def edit_similarity(text: bytes, truth: bytes) -> float:
    r"""Return `1 - d(a, b) / max(|a|, |b|)` of Levenshtein's distance d over characters; 1 for two empty pieces.

    As in IntelliCode Compose (arXiv 2005.08025). CodeXGLUE's number of that name is fuzzywuzzy's `ratio`: `2 M` over
    `|a| + |b|`, M being the characters that match, in percent, rounded; it takes a substitution for two edits, and is
    seldom the same. White space counts. Each byte that is not UTF-8 counts as a character.
    """
    a, b = _characters(text), _characters(truth)
    longest = max(len(a), len(b))
    return 1.0 if longest == 0 else 1.0 - _distance(a, b) / longest


def edit_distance(text: bytes, truth: bytes) -> int:
    """Return the fewest insertions, deletions and substitutions of characters that turn one into the other."""
    return _distance(_characters(text), _characters(truth))


def identifier_overlap(text: bytes, truth: bytes) -> float:
    """Return the Jaccard index of the sets of names, Python's keywords left out; 1 where neither has any."""
    a, b = _names(text), _names(truth)
    return len(a & b) / len(a | b) if a | b else 1.0


def parses(prefix: bytes, text: bytes, suffix: bytes) -> bool:
    """Tell whether Python can parse a file with its gap filled; nothing is run."""
    return syntax_tree(prefix + text + suffix) is not None


def _distance(a: np.ndarray, b: np.ndarray) -> int:
    r"""Fill Wagner and Fischer's table row by row, each row at once.

    Within row i, with `c_j = min(D_{i-1,j} + 1, D_{i-1,j-1} + [a_i \ne b_j])` for what comes from above,
    `D_{ij} = \min_{k \le j} c_k + j - k`, a running minimum of `c_k - k`.
    """
    a, b = sorted(_without_common_ends(a, b), key=len)
    places = np.arange(len(b) + 1)
    row = places
    for index, character in enumerate(a, start=1):
        above = np.minimum(row[1:] + 1, row[:-1] + (b != character))
        row = np.minimum.accumulate(np.concatenate([[index], above]) - places) + places
    return int(row[-1])


def _without_common_ends(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut off what both start and end with: it takes no edits."""
    shared = min(len(a), len(b))
    left = _run(a[:shared] == b[:shared])
    a, b = a[left:], b[left:]
    shared = min(len(a), len(b))
    right = _run(a[::-1][:shared] == b[::-1][:shared])
    return a[: len(a) - right], b[: len(b) - right]


def _run(same: np.ndarray) -> int:
    """Return how many entries are true before the first that is not."""
    return len(same) if same.all() else int(same.argmin())


def _characters(text: bytes) -> np.ndarray:
    """Return code points, (N,) uint32."""
    return np.frombuffer(text.decode("utf-8", "surrogateescape").encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _names(text: bytes) -> set[str]:
    return {name for name in _NAME.findall(text.decode("utf-8", "surrogateescape")) if not keyword.iskeyword(name)}
