"""The embedded data: weak code and its safe twins from templates, in real surroundings, cut off while being typed.

A snippet's label is the type of weakness that its last statement brings. Weak forms are cut behind the point that
tells them; safe are their twins cut at the same places, weak forms that are cut earlier or in another statement, and
pieces of the standard library. Families of templates, words for names and library files are each dealt into training,
validation and test, so that nothing of the one is met in another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omniform_codegen.scanning.config import ScanConfig
from omniform_codegen.scanning.library import LibraryFile, library_files
from omniform_codegen.scanning.naming import Words, deal
from omniform_codegen.scanning.snippets import Snippet, Snippets
from omniform_codegen.scanning.statements import statements
from omniform_codegen.scanning.templates import Family, Rendering, families
from omniform_codegen.scanning.truncation import cut_elsewhere, cut_library, cut_within
from omniform_codegen.scanning.weaknesses import SAFE

__all__ = ["PARTS", "Workshop", "sample_snippets", "workshops"]

PARTS = ("train", "validation", "test")
_KINDS, _SHARES = ("weak", "twin", "elsewhere", "library"), (0.38, 0.28, 0.14, 0.2)
_PADDING = 0.12  # the share of statements that a harmless one is put before
_FROM = {
    "ElementTree": "from xml.etree import ElementTree",
    "ET": "import xml.etree.ElementTree as ET",
    "etree": "from lxml import etree",
    "AES": "from Crypto.Cipher import AES",
    "DES": "from Crypto.Cipher import DES",
    "ARC4": "from Crypto.Cipher import ARC4",
    "Blowfish": "from Crypto.Cipher import Blowfish",
    "algorithms": "from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes",
    "Markup": "from markupsafe import Markup, escape",
    "mark_safe": "from django.utils.safestring import mark_safe",
    "Environment": "from jinja2 import Environment, FileSystemLoader",
    "Template": "from jinja2 import Template",
    "render_template_string": "from flask import Flask, render_template_string, request",
    "jsonify": "from flask import Flask, jsonify, request",
    "redirect": "from flask import redirect, request, url_for",
    "Flask": "from flask import Flask",
    "Path": "from pathlib import Path",
    "HttpResponse": "from django.http import HttpResponse",
    "np": "import numpy as np",
    "pd": "import pandas as pd",
}
_MODULES = (
    "aiohttp ast asyncio base64 certifi cPickle dill hashlib hmac httpx jinja2 json logging lxml mako marshal os "
    "paramiko pickle psycopg2 pymysql random re requests secrets shelve shlex shutil socket sqlite3 ssl stat "
    "string subprocess tarfile tempfile tomllib torch urllib uvicorn xml yaml zipfile zlib"
)
_QUALIFIED = {"urllib": "urllib.request", "mako": "mako.lookup", "lxml": "lxml.etree"}
_HARMLESS = (
    "{0} = len({1})", "print({1})", "{0} = []", "{0} = {1} or None", "if {1} is None:\n{indent}    return None",
    "{0} = str({1}).strip()", "logger.info('%s', {1})", "{0} = 0", "self_check = True", "# {0} of the {1}",
    "{0}, _ = divmod(7, 2)", "{0} = dict({1}={1})",
)  # fmt: skip


def sample_snippets(config: ScanConfig) -> Snippets:
    """Generate `config.snippets` snippets, the parts of a split named; the same config gives the same snippets.

    Raises:
        DataError: the standard library is not on disk.
    """
    shares, seed = config.shares(), config.split_seed
    snippets = []
    for place, (workshop, share) in enumerate(zip(workshops(shares, seed), shares, strict=True)):
        rng = np.random.default_rng((seed, 2, place))
        kinds = rng.choice(_KINDS, size=round(share * config.snippets), p=_SHARES)
        snippets += [workshop.make(kind, rng) for kind in kinds]
    return Snippets(tuple(snippets))


@dataclass(frozen=True, slots=True)
class Workshop:
    """What one part of the split is made from."""

    part: str
    families: dict[str, list[Family]]
    words: Words
    files: tuple[LibraryFile, ...]
    blocks: tuple[bytes, ...]

    def make(self, kind: str, rng: np.random.Generator) -> Snippet:
        """Make a snippet of one of the four kinds."""
        if kind == "library":
            file = self.files[rng.integers(len(self.files))]
            code = cut_library(file.code, file.harmless, int(rng.integers(len(file.harmless))), rng)
            return Snippet(code, SAFE, f"library/{file.name}", file.name, self.part)
        cwe = str(rng.choice(sorted(self.families)))
        family = self.families[cwe][rng.integers(len(self.families[cwe]))]
        rendering = family.render(self.words.draw(family.slots, rng), weak=kind != "twin", rng=rng)
        rendering = _quoted(_padded(rendering, self.words, rng), rng)
        above = self._surroundings(rendering.code, rng)
        code, marker = above + rendering.code, len(above) + rendering.marker
        code = (
            cut_elsewhere(code, marker, rng, first=len(above)) if kind == "elsewhere" else cut_within(code, marker, rng)
        )
        return Snippet(code, cwe if kind == "weak" else SAFE, family.group, f"{family.group}.py", self.part)

    def _surroundings(self, code: bytes, rng: np.random.Generator) -> bytes:
        """Return imports and up to two functions of the library."""
        blocks = [self.blocks[rng.integers(len(self.blocks))] for _ in range(rng.integers(3))]
        imports = b"\n".join(line.encode() for line in _imports(code.decode()))
        return b"\n\n\n".join(part for part in (imports, b"".join(blocks).rstrip()) if part) + b"\n\n\n"


def workshops(shares: Sequence[float], seed: int) -> list[Workshop]:
    """Deal families, words and library files into the parts of a split."""
    rng = np.random.default_rng((seed, 0))
    by_type: dict[str, list[Family]] = {}
    for family in families():
        by_type.setdefault(family.cwe, []).append(family)
    dealt = {cwe: list(zip(own, deal(len(own), shares, rng), strict=True)) for cwe, own in by_type.items()}
    files = [file for file in library_files() if file.harmless]
    places = deal(len(files), shares, rng)
    found = []
    for number, (part, words) in enumerate(zip(PARTS, Words.of_parts(shares, seed), strict=True)):
        own = tuple(file for file, place in zip(files, places, strict=True) if place == number)
        found.append(
            Workshop(
                part,
                {cwe: [family for family, place in pairs if place == number] for cwe, pairs in dealt.items()},
                words,
                own,
                tuple(block for file in own for block in file.blocks),
            )
        )
    return found


def _imports(code: str) -> list[str]:
    """Return the imports that the names in `code` ask for."""
    named = set(re.findall(r"(?<![\w.])[A-Za-z_]\w*", code))
    plain = [f"import {_QUALIFIED.get(name, name)}" for name in _MODULES.split() if name in named]
    return plain + [line for name, line in _FROM.items() if name in named]


def _padded(rendering: Rendering, words: Words, rng: np.random.Generator) -> Rendering:
    """Put harmless statements between the others, so that a value and its use stand apart."""
    code, marker, spans = rendering.code, rendering.marker, statements(rendering.code)
    for (start, _), (above, _) in reversed(list(zip(spans[1:], spans[:-1], strict=True))):
        line = code.rfind(b"\n", 0, start) + 1
        indent = code[line:start]
        joined = re.match(rb"(?:elif|else|except|finally)\b", code[start:]) or code[above : above + 1] == b"@"
        if joined or not indent or rng.random() >= _PADDING:
            continue
        names = [str(rng.choice(words.nouns)) for _ in range(2)]
        text = str(rng.choice(_HARMLESS)).format(*names, indent=indent.decode())
        added = indent + text.encode() + b"\n"
        code = code[:line] + added + code[line:]
        marker += len(added) if marker >= line else 0
    return Rendering(code, marker)


def _quoted(rendering: Rendering, rng: np.random.Generator) -> Rendering:
    """Turn the quotes of some renderings that have one kind only."""
    if b"'" in rendering.code or rng.random() < 0.6:
        return rendering
    return Rendering(rendering.code.replace(b'"', b"'"), rendering.marker)
