"""The tab that compares mixers."""

from __future__ import annotations

import streamlit as st

from omniform.workbench import Workbench
from omniform_codegen.app.data import DataSet
from omniform_codegen.app.training import ask_config
from omniform_codegen.task import Complete

__all__ = ["comparison"]


def comparison(bench: Workbench, data: DataSet) -> None:
    """Compare mixers on the data, by the same steps and parameters each."""
    st.caption("Only causal mixers write from left to right; the report says so of any other.")
    config = ask_config(bench, data, slot="compare")
    if config is not None:
        bench.compare(Complete(), data.source, config)
