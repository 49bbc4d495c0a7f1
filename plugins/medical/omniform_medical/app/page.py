"""The page from top to bottom: the data, and a tab for each thing that can be done with it."""

from __future__ import annotations

import streamlit as st

from omniform.workbench import Workbench
from omniform_medical.app.comparison import comparison
from omniform_medical.app.data import choose_data
from omniform_medical.app.looking import looking
from omniform_medical.app.prediction import prediction
from omniform_medical.app.training import training

__all__ = ["page"]

_UNLABELLED = "This needs a data set with labels: choose one above."


def page(bench: Workbench) -> None:
    """Draw the page of the domain."""
    with st.container():  # whatever it holds, the tabs stay the same element, and the one that is open stays open
        data = choose_data(bench)
    look, train, compare, predict = st.tabs(["Look", "Train", "Compare", "Predict"])
    with look:
        if data is None:
            st.caption("This needs data: choose some above.")
        else:
            looking(bench, data)
    trial = None
    with train:
        if data is None or data.plan is None:
            st.caption(_UNLABELLED)
        else:
            trial = training(bench, data, data.plan)
    with compare:
        if data is None or data.plan is None:
            st.caption(_UNLABELLED)
        else:
            comparison(bench, data, data.plan)
    with predict:
        prediction(bench, trial)
