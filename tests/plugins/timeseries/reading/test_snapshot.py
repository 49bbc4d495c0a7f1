"""A panel written as frames and read again is the same panel, whatever it was read from."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniform.configuration import join_names
from omniform.errors import OmniformError
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.data import read_panel
from omniform_timeseries.reading.snapshot import panel_frames

BASE = ForecastConfig(horizon=3, lookback=4, patch=2, stride=2)


def again(panel, config):
    """Write and read a panel as a resolved configuration would."""
    config = replace(config, series=join_names(panel.names), frequency=panel.frequency)
    frames = panel_frames(panel, config)
    return read_panel(frames.values, config, known=frames.known, static=frames.static)


def check_same(one, other):
    assert one.names == other.names
    assert list(one.index) == list(other.index)
    assert list(one.ahead) == list(other.ahead)
    np.testing.assert_array_equal(one.values, other.values)
    for kind in ("past", "known", "static"):
        assert getattr(one.covariates, f"{kind}_names") == getattr(other.covariates, f"{kind}_names")
        np.testing.assert_array_equal(getattr(one.covariates, kind), getattr(other.covariates, kind))
    for row in range(len(one)):
        np.testing.assert_array_equal(
            one.covariates.ahead(row + 1, row + 4, seen=row), other.covariates.ahead(row + 1, row + 4, seen=row)
        )


def read_or_refuse(frame, config, **further):
    """Return the panel, or nothing where one line refuses the frame; anything else escapes."""
    refusal = ""
    try:
        return read_panel(frame, config, **further)
    except OmniformError as error:
        refusal = str(error)
    assert "\n" not in refusal
    return None


def check_panel(panel, config):
    """Check what every panel promises."""
    rows, series = panel.values.shape
    assert panel.values.dtype == np.float64
    assert not panel.values.flags.writeable
    assert len(panel.index) == rows
    assert len(set(panel.names)) == len(panel.names) == series > 0
    assert panel.index.is_monotonic_increasing
    assert panel.index.is_unique
    assert panel.index.tz is None or str(panel.index.tz) == "UTC"
    assert (panel.frequency is None) == config.irregular
    assert np.isfinite(panel.values).all() or config.fill == "mask"
    assert not np.isinf(panel.values).any()
    assert (panel.ends > 0).all()
    own = panel.covariates
    assert own.past.shape == (rows, series, len(own.past_names))
    assert own.known.shape[1:] == (series, len(own.known_names))
    assert own.static.shape == (series, len(own.static_names))
    assert not own.known_names or len(own.known) == rows + config.horizon
    if config.fill != "mask":
        assert np.isfinite(own.past).all()
        assert np.isfinite(own.known[:rows]).all()


@st.composite
def tables(draw):
    """Long frames of a few series over one clock or none, with holes, covariates, and rows in any order."""
    freq = draw(st.sampled_from(["15min", "h", "D", "W-MON", "MS", None]))
    rows = draw(st.integers(1, 14))
    stamps = pd.date_range("2024-01-28", periods=rows, freq=freq or "h")
    if freq is None:
        minutes = draw(st.lists(st.integers(1, 50), min_size=rows, max_size=rows))
        stamps = pd.Timestamp("2024-01-28") + pd.to_timedelta(np.cumsum(minutes), "min")
    number = st.one_of(st.floats(-1e6, 1e6), st.just(np.nan)) if draw(st.booleans()) else st.floats(-1e6, 1e6)
    parts = []
    for name in draw(st.lists(st.sampled_from(["a", "b", "c, d", "\u05d0", "1"]), min_size=1, max_size=3, unique=True)):
        cells = draw(st.lists(st.tuples(number, number, number), min_size=rows, max_size=rows))
        part = pd.DataFrame(cells, columns=["y", "heat", "price"]).assign(unique_id=name, ds=stamps)
        parts.append(part[draw(st.integers(0, 2)) : rows - draw(st.integers(0, 2))] if draw(st.booleans()) else part)
    frame = pd.concat(parts, ignore_index=True)
    keep = draw(st.sets(st.integers(0, max(len(frame) - 1, 0)), max_size=3)) if draw(st.booleans()) else set()
    frame = frame.drop(index=[row for row in keep if row < len(frame)])
    return frame.sample(frac=1, random_state=draw(st.integers(0, 9))) if draw(st.booleans()) else frame


@st.composite
def options(draw):
    irregular = draw(st.booleans())
    chosen = {
        "fill": draw(st.sampled_from(["refuse", "forward", "interpolate", "mask", "mask"])),
        "past": draw(st.sampled_from([None, "heat"])),
        "known": draw(st.sampled_from([None, "price"])),
        "calendar": draw(st.booleans()),
        "irregular": irregular,
    }
    if not irregular and draw(st.booleans()):
        chosen["resample"] = draw(st.sampled_from(["mean", "sum", "last"]))
        chosen["frequency"] = draw(st.sampled_from(["h", "D"]))
    return replace(BASE, **chosen)


@settings(max_examples=80, deadline=None)
@given(tables(), options())
def test_random_long_frames_keep_every_value_or_are_refused(frame, config):
    panel = read_or_refuse(frame, config)
    if panel is None:
        return
    check_panel(panel, config)
    check_same(panel, again(panel, config))
    if config.resample != "refuse":
        return
    given_cells = {(row.unique_id, row.ds): row for row in frame.itertuples()}
    for column, name in enumerate(panel.names):
        for row, stamp in enumerate(panel.index):
            cell = given_cells.pop((name, stamp), None)
            if cell is None:
                assert config.fill != "refuse"
                assert np.isnan(panel.values[row, column]) == (config.fill == "mask")
            elif not np.isnan(cell.y):
                assert panel.values[row, column] == cell.y
            if cell is not None and config.past and not np.isnan(cell.heat):
                assert panel.covariates.past[row, column, 0] == cell.heat
            if cell is not None and config.known and not np.isnan(cell.price):
                assert panel.covariates.known[row, column, 0] == cell.price
    assert all(np.isnan(cell.y) for cell in given_cells.values())  # no value was lost


CELLS = st.one_of(
    st.floats(), st.text(max_size=3), st.none(), st.booleans(), st.integers(), st.decimals(allow_nan=False),
    st.complex_numbers(),
    st.datetimes(), st.binary(max_size=2), st.lists(st.integers(), max_size=2), st.just(pd.NA), st.just(pd.NaT),
)  # fmt: skip
STAMPS = st.one_of(
    st.datetimes(), st.datetimes(timezones=st.timezones()), st.text(max_size=12), st.none(), st.integers(), st.floats(),
    st.dates().map(str), st.just(pd.NaT),
    st.sampled_from(["2018-01-01", "2018-01-02", "2018-01-03", "2018-01-04", "01/02/2018", "2018-01-01 00:00+01:00"]),
)  # fmt: skip
NAMES = ["ds", "unique_id", "y", "issued", "x", "observed", "", "a\nb", "a"]


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(STAMPS, CELLS, CELLS, CELLS), max_size=6),
    names=st.lists(st.sampled_from(NAMES), min_size=4, max_size=4),
    further=st.lists(st.tuples(STAMPS, CELLS, CELLS, CELLS), max_size=6),
    use=st.sampled_from(["none", "known", "static"]),
    config=st.builds(
        lambda fill, known, past, irregular: replace(BASE, fill=fill, known=known, past=past, irregular=irregular),
        st.sampled_from(["refuse", "forward", "interpolate", "mask"]),
        st.sampled_from([None, "x"]),
        st.sampled_from([None, "a"]),
        st.booleans(),
    ),
)
@pytest.mark.filterwarnings("ignore")
def test_anything_is_read_or_refused_in_one_line(rows, names, further, use, config):
    frame, other = (pd.DataFrame(cells, columns=names, dtype=object) for cells in (rows, further))
    panel = read_or_refuse(frame, config, **({} if use == "none" else {use: other}))
    if panel is not None:
        check_panel(panel, config)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("fill", ["refuse", "mask"])
def test_revisions_and_constants_come_back(shared, fill):
    stamps = pd.date_range("2024-01-01", periods=13, freq="h")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"ds": stamps[:10], "a": rng.standard_normal(10), "b": rng.standard_normal(10), "price": 2.0})
    parts = [
        {"unique_id": name, "ds": stamps, "issued": stamps - pd.Timedelta(minutes=ahead), "load": rng.random(13)}
        for name in "ab"
        for ahead in (10_000, 150, 90, 20)
    ]
    known = pd.concat([pd.DataFrame(part) for part in parts])
    if shared:
        known = known[known["unique_id"] == "a"].drop(columns="unique_id")
    static = pd.DataFrame({"unique_id": ["a", "b"], "zone": ["n", "s"], "size": [1, 2]})
    config = replace(BASE, known="load,price", calendar=True, fill=fill)
    panel = read_panel(frame, config, known=known, static=static)
    check_same(panel, again(panel, config))
    check_same(panel.tail(6), again(panel.tail(6), config))
