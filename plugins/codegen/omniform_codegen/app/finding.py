"""The tab that scans files, complete or not."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import streamlit as st

from omniform.compare import numerals
from omniform.errors import DataError, OmniformError
from omniform.workbench import Workbench, as_csv, plain
from omniform_codegen.app.data import upload_name
from omniform_codegen.app.marks import explain, show_code
from omniform_codegen.app.models import choose_judge
from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import SourceFile
from omniform_codegen.reading import read_files
from omniform_codegen.scanning.api import Judge
from omniform_codegen.scanning.findings import Finding
from omniform_codegen.scanning.output import sarif

__all__ = ["finding"]

_EXAMPLE = b"""\
import hashlib
import pickle
import subprocess

import requests

API_KEY = "k3y-4f9a-11c2"


def fetch(url):
    return requests.get(url, verify=False).content


def load(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def archive(folder, name):
    subprocess.run(f"tar czf {name}.tgz {folder}", shell=True, check=True)
    return hashlib.md5(name.encode()).hexdigest()
"""
_SOURCES = {"example": "An example", "upload": "My own file", "folder": "A file or folder on this machine"}
_TYPES = ("py", "zip")


@dataclass(frozen=True, slots=True, eq=False)
class _Scanned:
    """Files and what was found in them."""

    files: tuple[SourceFile, ...]
    findings: tuple[Finding, ...]
    table: pd.DataFrame
    log: bytes


def finding(bench: Workbench) -> None:
    """Scan files, show the findings, and hand them out as SARIF."""
    choice = st.radio(
        "Code", list(_SOURCES), format_func=_SOURCES.__getitem__, horizontal=True, key=f"{bench.domain}.scan.source"
    )
    source = _ask(bench, choice)
    judge = choose_judge(bench, slot="scan")
    if source is None or judge is None:
        return
    if choice == "example":  # nothing is chosen yet: what a scan looks like is shown at once
        _show(bench, bench.recall("scan.example", judge, lambda: _scan(judge, _example())))
        return
    path, name = source
    told = bench.outcome("Scan", (str(path), judge), lambda: _scan(judge, _read(path, name)), slot="scan")
    if told is not None:
        _show(bench, told)


def _ask(bench: Workbench, choice: str) -> tuple[Path, str] | None:
    """Return where the code lies and what it is called."""
    if choice == "example":
        return Path(), ""
    if choice == "upload":
        path = bench.upload("Python file, or a zip of some", types=_TYPES, slot="scan")
        return None if path is None else (path, upload_name(bench, "scan"))
    text = st.text_input("Path", key=f"{bench.domain}.scan.path", placeholder="src").strip()
    return (Path(text).expanduser(), Path(text).name) if text else None


def _example() -> tuple[SourceFile, ...]:
    return (SourceFile("example.py", _EXAMPLE, "example.py"),)


def _read(path: Path, name: str) -> tuple[SourceFile, ...]:
    try:
        files = tuple(found.file for found in read_files(path, CompleteConfig()))
    except OSError as error:
        raise DataError(f"{name!r} cannot be read ({error.strerror})") from None
    except OmniformError as error:
        raise type(error)(str(error).replace(path.name, name)) from None
    return (replace(files[0], path=name),) if path.suffix == ".py" and len(files) == 1 else files


def _scan(judge: Judge, files: tuple[SourceFile, ...]) -> _Scanned:
    bar = st.progress(0.0, "Scanning")
    found: list[Finding] = []
    try:
        for done, file in enumerate(files):
            bar.progress(done / len(files), f"Scanning {plain(file.path)}")
            found += judge.scan(file.content, file=file.path)
    finally:
        bar.empty()
    log = json.dumps(sarif(found), indent=2, allow_nan=False).encode()
    return _Scanned(files, tuple(found), _table(found), log)


def _table(findings: list[Finding]) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "file": [each.file for each in findings],
            "line": [each.line for each in findings],
            "type": [each.cwe for each in findings],
            "weakness": [each.name for each in findings],
            "sure": [each.confidence for each in findings],
            "what to do": [each.remedy for each in findings],
        }
    )
    return table if any(each.confidence is not None for each in findings) else table.drop(columns="sure")


def _show(bench: Workbench, told: _Scanned) -> None:
    counts = Counter(each.file for each in told.findings)
    noun = "finding" if len(told.findings) == 1 else "findings"
    files = "1 file" if len(told.files) == 1 else f"{len(told.files):,} files"
    st.markdown(f"**{len(told.findings):,} {noun} in {files}**")
    if not told.findings:
        st.caption("The scanner finds nothing weak here; that proves nothing.")
        return
    styled = told.table.style.format({"sure": "{:.0%}"}) if "sure" in told.table else told.table
    st.dataframe(styled, hide_index=True, placeholder=numerals.MISSING)
    left, right, _ = st.columns([1, 1, 2])
    left.download_button(
        "Download SARIF", told.log, "findings.sarif", "application/sarif+json", key=f"{bench.domain}.scan.sarif"
    )
    with right:
        bench.download_table("Download CSV", as_csv(told.table), "findings.csv", slot="scan")
    names = [name for name, _ in counts.most_common()]
    name = names[0]
    if len(names) > 1:
        name = st.selectbox(
            "File",
            names,
            format_func=lambda name: f"{name} ({counts[name]})",
            key=f"{bench.domain}.scan.file.{len(names)}",
        )
    file = next(file for file in told.files if file.path == name)
    findings = [each for each in told.findings if each.file == name]
    code, notes = st.columns(2, gap="large")
    with code:
        show_code(file.content.decode(errors="replace"), findings, height="40em")
    with notes:
        explain(findings)
