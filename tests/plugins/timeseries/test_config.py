"""Options are checked where they are made."""

import dataclasses
import pickle
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniform.configuration import join_names, split_names
from omniform.errors import ConfigError
from omniform_timeseries.config import ForecastConfig


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"lookback": 0}, "lookback"),
        ({"horizon": -1}, "horizon"),
        ({"horizon": 2.5}, "horizon"),
        ({"season": 200, "lookback": 168}, "season"),
        ({"patch": 200}, "patch"),
        ({"dropout": 1.0}, "dropout"),
        ({"protocol": "other"}, "protocol"),
        ({"fill": "zero"}, "fill"),
        ({"protocol": "ltsf", "eval_stride": 2}, "eval_stride"),
        ({"series": "a,,b"}, "series"),
    ],
)
def test_impossible_options_are_refused(options, named):
    with pytest.raises(ConfigError, match=named):
        ForecastConfig(**options)


def test_every_option_says_what_it_is():
    assert all(field.metadata["help"] for field in dataclasses.fields(ForecastConfig))


def test_survives_a_process_boundary():
    config = ForecastConfig(series="a,b", season=12)
    assert pickle.loads(pickle.dumps(config)) == config


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), min_size=1))
def test_names_survive_being_joined(names):
    """In Unicode's composed form, in which tables are read too."""
    assert split_names(join_names(names)) == tuple(normalize("NFC", name) for name in names)


def test_names_may_hold_blanks_and_commas():
    assert split_names('OT, "AGE 0-4","a,b"') == ("OT", "AGE 0-4", "a,b")
