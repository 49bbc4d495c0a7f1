"""What the time-series domain hands to the host. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

from omniform.hookspecs import hookimpl
from omniform.specs import Domain, Ref, System, TaskEntry
from omniform_timeseries.systems import SYSTEMS

__all__ = ["DOMAIN"]

DOMAIN = Domain(
    name="timeseries",
    title="Time series",
    summary="Forecast many series at once, beside seasonal-naive and ridge floors.",
    tasks=(
        TaskEntry(
            name="forecast",
            summary="Predict the next values of every series from their past.",
            task=Ref("omniform_timeseries.task:Forecast"),
        ),
    ),
    app=Ref("omniform_timeseries.app:page"),
    demo=Ref("omniform_timeseries.demo:run"),
    extra="timeseries",
    requires=("pandas", "pyarrow", "tsdata"),
)


@hookimpl
def omniform_domains() -> Sequence[Domain]:
    return (DOMAIN,)


@hookimpl
def omniform_systems() -> Sequence[System]:
    return SYSTEMS
