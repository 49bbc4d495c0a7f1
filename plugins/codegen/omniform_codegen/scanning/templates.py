"""Families of code templates: a weak form and its safe twins in one text, a file a type of weakness.

=== name            begins a family
<<weak||safe||...>> what tells the weak form from its twins; alternatives of several such places are taken together
[[one;;two]]        one of these at random
@@                  behind it the type is told; taken out
$f $a ...           names and words, drawn anew for each rendering, the same throughout it
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

__all__ = ["Family", "Rendering", "families"]

_TWIN = re.compile(r"<<(.*?)>>", re.DOTALL)
_CHOICE = re.compile(r"\[\[(.*?)\]\](?!\])", re.DOTALL)
_SLOT = re.compile(r"\$([A-Za-z])")
_MARKER = "@@"


@dataclass(frozen=True, slots=True)
class Rendering:
    """Code made from a family.

    Attributes:
        marker: the number of bytes up to where its type is told.
    """

    code: bytes
    marker: int


@dataclass(frozen=True, slots=True)
class Family:
    """Code of one shape, weak or not."""

    cwe: str
    name: str
    text: str

    @property
    def group(self) -> str:
        """The name that its snippets share: weak ones and safe twins stay together."""
        return f"{self.cwe}/{self.name}"

    @property
    def slots(self) -> tuple[str, ...]:
        """The letters of the names that it wants."""
        return tuple(sorted(set(_SLOT.findall(self.text))))

    def render(self, names: Mapping[str, str], *, weak: bool, rng: np.random.Generator) -> Rendering:
        """Return the weak form or one of its safe twins, names filled in."""
        twin = int(rng.integers(6))

        def choose_twin(match: re.Match[str]) -> str:
            bad, *good = match.group(1).split("||")
            return bad if weak else good[twin % len(good)]

        def choose(match: re.Match[str]) -> str:
            options = match.group(1).split(";;")
            return options[int(rng.integers(len(options)))]

        text = _CHOICE.sub(choose, _TWIN.sub(choose_twin, self.text))
        text = _SLOT.sub(lambda match: names[match.group(1)], text)
        before, _, after = text.partition(_MARKER)
        return Rendering((before + after).encode(), len(before.encode()))


@cache
def families() -> tuple[Family, ...]:
    """Return all families, sorted by type and in the order of their files."""
    folder = resources.files("omniform_codegen.scanning") / "templates"
    found = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        cwe = file.name.removesuffix(".txt")
        for part in file.read_text(encoding="utf-8").split("=== ")[1:]:
            name, _, text = part.partition("\n")
            found.append(Family(cwe, name.strip(), text.rstrip() + "\n"))
    return tuple(found)
