"""RASP, a language whose programs a transformer encoder can run: arXiv 2106.06981. `compiler` brings torch."""

from omniform.analysis.rasp.expressions import Selector, SOp
from omniform.analysis.rasp.interpreter import run
from omniform.analysis.rasp.language import (
    aggregate,
    apply,
    best,
    everything,
    finds,
    indicator,
    indices,
    is_in,
    length,
    select,
    selector_width,
    tokens,
    where,
)
from omniform.analysis.rasp.schedule import Head, Schedule, schedule
from omniform.analysis.rasp.values import Value

__all__ = [
    "Head",
    "SOp",
    "Schedule",
    "Selector",
    "Value",
    "aggregate",
    "apply",
    "best",
    "everything",
    "finds",
    "indicator",
    "indices",
    "is_in",
    "length",
    "run",
    "schedule",
    "select",
    "selector_width",
    "tokens",
    "where",
]
