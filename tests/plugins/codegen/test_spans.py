"""Spans of a file written for the purpose, told by eye; of the standard library, read again by the parser."""

import argparse
import ast
import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniform_codegen.corpus import Corpus, SourceFile
from omniform_codegen.spans import Span, draw_spans, line_spans, syntax_tree

SOURCE = '''"""Modul für Größen."""
import os.path
from math import sqrt as root, pi


def länge(ä, b):  # ünïcode
    """Only said."""


def f(ä):
    s = "ééé"; t = root(ä) if ä > 0 else 0
    if s == "ööö" and t:
        return os.path.join("ü", s)
    elif not t:
        pass
    for x in range(3): print("日本", x); break
    else:
        @property
        def g(self): ...
    return f"{root(3)}" + str([y for y in t if y != "é"])
'''
UNITS = {
    "condition": {
        "ä > 0",
        's == "ööö" and t',
        "not t",
        "range(3)",
        'y != "é"',
    },
    "call": {"root(ä)", 'os.path.join("ü", s)'},
    "block": {'return os.path.join("ü", s)', 'print("日本", x); break'},
}


def corpus_of(**files: bytes) -> Corpus:
    return Corpus(tuple(SourceFile(name.replace("_", "."), content, "g") for name, content in files.items()))


def texts(corpus: Corpus, spans: tuple[Span, ...]) -> list[str]:
    return [corpus.files[span.place].content[span.start : span.stop].decode() for span in spans]


@pytest.fixture(scope="module")
def library() -> Corpus:
    paths = [*Path(asyncio.__file__).parent.glob("*.py"), *Path(json.__file__).parent.glob("*.py")]
    return Corpus(tuple(SourceFile(path.name, path.read_bytes(), "g") for path in sorted(paths)))


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_units_are_found_in_bytes(ending):
    corpus = corpus_of(a_py=SOURCE.replace("\n", ending).encode())
    spans = draw_spans(corpus, count=100, seed=0)
    found = {
        kind: {text for text, span in zip(texts(corpus, spans), spans, strict=True) if span.kind == kind}
        for kind in UNITS
    }
    blocks = {text for text in found["block"] if ending not in text}
    assert {**found, "block": blocks} == UNITS
    assert found["block"] == blocks  # the body of f exceeds 200 bytes
    assert {span.kind for span in spans} == set(UNITS)


def test_a_block_of_several_lines_keeps_its_inner_indentation():
    corpus = corpus_of(a_py=b"while x:\n    if y:\n        z = 1\n    w = 2  # why\n")
    found = texts(corpus, draw_spans(corpus, count=9, seed=0))
    assert sorted(found) == sorted(["x", "y", "z = 1", "if y:\n        z = 1\n    w = 2"])


def test_kinds_and_files_are_even(library):
    spans = draw_spans(library, count=60, seed=1)
    assert len(spans) == len(set(spans)) == 60
    kinds = Counter(span.kind for span in spans)
    assert max(kinds[kind] for kind in UNITS) - min(kinds[kind] for kind in UNITS) <= 2
    assert max(Counter(span.place for span in spans).values()) <= 3


def test_units_can_be_read_on_their_own(library):
    spans = draw_spans(library, count=400, seed=0)
    for text, span in zip(texts(library, spans), spans, strict=True):
        assert text == text.strip()
        assert 0 < len(text.encode()) <= 200
        if span.kind in ("condition", "call"):
            tree = ast.parse(f"({text}\n)", mode="eval")
            assert span.kind == "condition" or isinstance(tree.body, ast.Call)
        assert syntax_tree(
            library.files[span.place].content[: span.start] + b"_" + library.files[span.place].content[span.stop :]
        )


def test_the_draw_is_its_seed_s(library):
    assert draw_spans(library, count=20, seed=0) == draw_spans(library, count=20, seed=0)
    assert draw_spans(library, count=20, seed=0) != draw_spans(library, count=20, seed=1)
    assert line_spans(library, count=20, seed=0) == line_spans(library, count=20, seed=0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a_c", b"int main() {\n\n    return 0;  \n}\n"),
        ("a_py", b"int main() {\n\n    return 0;  \n}\n"),
        ("a_py", b"\x00int main() {\n    return 0;\xff\n}\n"),
        ("a_py", "# -*- coding: latin-1 -*-\nif x == 'ä': pass\n".encode("latin-1")),
        ("a_py", b"x = 1\ny = 2\n"),
    ],
)
def test_other_files_give_whole_lines(name, content):
    corpus = corpus_of(**{name: content})
    spans = draw_spans(corpus, count=10, seed=0)
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    assert [content[span.start : span.stop] for span in spans] == lines
    assert {span.kind for span in spans} == {"line"}


def test_a_corpus_without_anything_gives_nothing():
    corpus = corpus_of(a_py=b"", b_py=b"  \n\t\n", c_txt=b"x" * 500)
    assert draw_spans(corpus, count=5, seed=0) == ()
    assert line_spans(corpus, count=5, seed=0) == ()
    assert draw_spans(Corpus(()), count=5, seed=0) == ()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(text=st.text(alphabet="aé日 \t\n\r:=", max_size=60), seed=st.integers(0, 100))
def test_ends_of_lines(text, seed):
    corpus = corpus_of(a_py=text.encode(), b_py=b"    if x:  # y \r\n")
    content = [file.content for file in corpus.files]
    spans = line_spans(corpus, count=8, seed=seed)
    assert len(spans) == min(8, 1 + sum(bool(line.strip(b" \t")) for line in content[0].splitlines()))
    for span in spans:
        hidden = content[span.place][span.start : span.stop]
        assert hidden.decode().strip()
        assert not {*b"\r\n"} & {*hidden}
        assert content[span.place][span.stop :].decode().lstrip(" \t")[:1] in ("", "\n", "\r")
        content[span.place][: span.start].decode()  # no character is cut
        assert span.kind == "line"


def test_cursors_stand_anywhere_behind_the_indentation():
    corpus = corpus_of(a_py=b"    if x:\n")
    starts = {line_spans(corpus, count=1, seed=seed)[0].start for seed in range(60)}
    assert starts == set(range(4, 9))


def test_what_does_not_parse_has_no_tree():
    assert syntax_tree("x = 1") is not None
    assert syntax_tree(b"x = '\\d'") is not None  # an invalid escape, of which Python would warn
    for source in ("x = ", b"\x00", "(" * 5000, b"\xff"):
        assert syntax_tree(source) is None


def test_the_library_is_python():
    assert syntax_tree(Path(argparse.__file__).read_bytes()) is not None
