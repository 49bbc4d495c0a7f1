"""The sources that the page learns from."""

from __future__ import annotations

import shutil
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import streamlit as st

from omniform.errors import DataError, OmniformError
from omniform.workbench import Workbench, plain
from omniform.workbench.remarks import overhear
from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import Corpus
from omniform_codegen.reading import read_corpus
from omniform_codegen.sample import sample_files

__all__ = ["TYPES", "DataSet", "choose_data", "upload_name"]

TYPES = ("py", "zip", "jsonl", "gz")

_SOURCES = {
    "sample": "Sample: a part of Python's library",
    "folder": "A folder on this machine",
    "upload": "My own file",
}
_OPTIONS = ("suffixes", "licences", "secrets", "generated")
_DEFAULT = CompleteConfig(spans=32, validation_bytes=30_000, test_bytes=100_000)  # a page is waited for
_PACKAGES = {
    *("argparse", "base64", "calendar", "collections", "configparser", "contextlib", "copy", "csv"),
    *("dataclasses", "difflib", "fractions", "functools", "glob", "gzip", "hashlib", "heapq"),
    *("html", "http", "json", "linecache", "logging", "mimetypes", "operator", "optparse"),
    *("os", "pathlib", "pprint", "queue", "random", "shelve", "shlex", "shutil"),
    *("socketserver", "sqlite3", "statistics", "string", "tempfile", "textwrap", "threading", "timeit"),
    *("traceback", "urllib", "uuid", "warnings", "wave", "weakref", "webbrowser", "wsgiref"),
}


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """The data as the tabs take it.

    Attributes:
        source: what `Task.read` takes.
        name: what it is called, without the folders it lies in.
        corpus: its files.
        config: how they were read.
    """

    source: Path
    name: str
    corpus: Corpus
    config: CompleteConfig


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """A corpus, and what was said of it while it was read."""

    corpus: Corpus
    remarks: tuple[str, ...]


def choose_data(bench: Workbench) -> DataSet | None:
    """Ask for sources and which of them to keep; show what was read."""
    choice = st.radio(
        "Data", list(_SOURCES), format_func=_SOURCES.__getitem__, horizontal=True, key=f"{bench.domain}.data.source"
    )
    try:
        found = _ask(bench, choice)
        if found is None:
            return None
        source, name = found
        with st.expander("Which files are kept"):
            config = bench.config(CompleteConfig, _OPTIONS, _DEFAULT, slot=f"data.{choice}")
        if config is None:
            return None
        asked: Hashable = (str(source), config)
        told = bench.recall("data.read", asked, lambda: _read(source, name, config))
        _show(told)
        return bench.recall("data.set", asked, lambda: DataSet(source, name, told.corpus, config))
    except OmniformError as error:
        bench.refuse(error)
        return None


def upload_name(bench: Workbench, slot: str) -> str:
    """Return what an upload is called on the machine that it came from."""
    return Path(st.session_state[f"{bench.domain}.{slot}.upload"].name).name


def _ask(bench: Workbench, choice: str) -> tuple[Path, str] | None:
    """Return what to read and what it is called."""
    if choice == "sample":
        return Path(bench.recall("data.excerpt", "", _excerpt).name), "part of the standard library"
    if choice == "folder":
        text = st.text_input("Folder", key=f"{bench.domain}.data.folder", placeholder="src").strip()
        st.caption("Nothing is sent anywhere: it is read on the machine that this page runs on.")
        return (Path(text).expanduser(), Path(text).name) if text else None
    path = bench.upload("File", types=TYPES, slot="data", help="kept in a temporary folder, which goes with this visit")
    if path is None:
        st.caption(
            "A zip of sources, JSON lines with `content`, or one file. Whole packages are held out for the test."
        )
        return None
    return path, upload_name(bench, "data")


def _excerpt() -> TemporaryDirectory[str]:
    """Copy some packages of the standard library: about a minute's worth of training, where all would take many."""
    folder = TemporaryDirectory(prefix="omniform-", ignore_cleanup_errors=True)
    for path, file in sample_files():
        if path.endswith(".py") and path.split("/")[0].removesuffix(".py") in _PACKAGES:
            target = Path(folder.name, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    return folder


def _read(source: Path, name: str, config: CompleteConfig) -> _Read:
    with st.spinner("Reading the files"), overhear() as remarks:
        try:
            corpus = read_corpus(source, config)
        except OSError as error:
            raise DataError(f"{name!r} cannot be read ({error.strerror})") from None
        except OmniformError as error:
            raise type(error)(str(error).replace(str(source), name).replace(source.name, name)) from None
    if len(corpus) == 1 and source.is_file():
        corpus = Corpus((replace(corpus.files[0], path=name, group=name),))
    return _Read(corpus, tuple(dict.fromkeys(remarks)))


def _show(told: _Read) -> None:
    corpus = told.corpus
    facts = {
        "Files": f"{len(corpus):,}",
        "Size": f"{corpus.size / 1e6:.2f} MB",
        "Packages": f"{len({file.group for file in corpus.files}):,}",
    }
    for column, (label, fact) in zip(st.columns(len(facts)), facts.items(), strict=True):
        column.metric(label, fact)
    for remark in told.remarks:
        st.caption(plain(f"{remark[:1].upper()}{remark[1:]}."))
