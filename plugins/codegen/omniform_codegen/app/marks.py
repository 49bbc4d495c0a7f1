"""Findings of a scanner as the page shows them: marks beside lines, and what to do about each."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from omniform.workbench import plain
from omniform_codegen.app.drawing import code_html
from omniform_codegen.scanning.findings import Finding
from omniform_codegen.scanning.weaknesses import describe

__all__ = ["explain", "show_code"]


def show_code(code: str, findings: Sequence[Finding], *, height: str = "24em") -> None:
    """Show code with the lines marked that findings begin in."""
    marks: dict[int, list[str]] = {}
    for each in findings:
        marks.setdefault(each.line, []).append(f"{each.cwe}: {each.message}")
    st.html(code_html(code, marks, height=height))


def explain(findings: Sequence[Finding]) -> None:
    """Say of each finding where it is, what is wrong and what helps."""
    for each in findings:
        sure = "" if each.confidence is None else f", {each.confidence:.0%} sure"
        st.markdown(
            f"**Line {each.line}** &ensp; [{each.cwe}]({describe(each.cwe).address}) {plain(each.name)}{sure}  \n"
            f"{plain(each.message)} {plain(each.remedy)}"
        )
