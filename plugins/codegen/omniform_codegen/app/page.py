"""The page from top to bottom: data and model, and a tab for each thing that can be done with them."""

from __future__ import annotations

import streamlit as st

from omniform.workbench import Workbench
from omniform_codegen.app.comparison import comparison
from omniform_codegen.app.data import choose_data
from omniform_codegen.app.finding import finding
from omniform_codegen.app.models import choose_model
from omniform_codegen.app.personalizing import personalizing
from omniform_codegen.app.training import show_training, training
from omniform_codegen.app.writing import writing

__all__ = ["page"]

_NO_DATA = "This needs data: choose some above."


def page(bench: Workbench) -> None:
    """Draw the page of the domain; tabs are not filled in their order, for some work with what others trained."""
    left, right = st.columns(2, gap="large")
    with left:
        data = choose_data(bench)
    write, train, compare, personalize, scan = st.tabs(["Write", "Train", "Compare", "Personalise", "Scan"])
    own = None
    with train:
        if data is None:
            st.caption(_NO_DATA)
        else:
            own = training(bench, data)
    with right:
        model = choose_model(bench, data, own)
    with train:
        if shown := own or (model and model.trained):
            show_training(bench, shown)
    with personalize:
        tuned = personalizing(bench, model)
    with write:
        writing(bench, model, tuned)
    with compare:
        if data is None:
            st.caption(_NO_DATA)
        else:
            comparison(bench, data)
    with scan:
        finding(bench)
