"""The tab that shows the data as it is, with the labels that it has."""

from __future__ import annotations

import streamlit as st

from omniform.errors import OmniformError
from omniform.workbench import Workbench
from omniform_medical.app.data import DataSet
from omniform_medical.app.scene import Scene, make_scene
from omniform_medical.app.viewer import viewer

__all__ = ["choose_case", "looking"]


def looking(bench: Workbench, data: DataSet) -> None:
    """Look at a case."""
    index = choose_case(bench, [case.name for case in data.cohort.cases], slot="look")
    try:
        scene = bench.recall("look.scene", (data.cohort, index), lambda: _scene(data, index))
    except OmniformError as error:
        bench.refuse(error)
        return
    viewer(bench, scene, slot="look")


def choose_case(bench: Workbench, names: list[str], *, slot: str) -> int:
    """Ask for one of several cases."""
    if len(names) == 1:
        return 0
    key = f"{bench.domain}.{slot}.case.{len(names)}"
    return st.selectbox("Case", range(len(names)), format_func=names.__getitem__, key=key)


def _scene(data: DataSet, index: int) -> Scene:
    cohort = data.cohort
    return make_scene(cohort.cases[index].name, cohort.read(index), cohort.labels, cohort.channels, {})
