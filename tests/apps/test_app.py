"""The hub and the time-series page, run headless."""

from importlib.util import find_spec

import pytest

streamlit_testing = pytest.importorskip("streamlit.testing.v1")
pytest.importorskip("tsdata")


def _open():
    spec = find_spec("omniform_apps.main")
    assert spec is not None
    assert spec.origin is not None
    app = streamlit_testing.AppTest.from_file(spec.origin, default_timeout=300).run()
    assert not app.exception
    return app


def test_the_page_opens_on_the_sample():
    app = _open()
    assert [title.value for title in app.title] == ["Time series"]
    assert {"attention", "gla", "mamba"} <= set(app.multiselect[0].options)
    assert not app.error


def test_a_bad_option_is_one_clear_line():
    app = _open()
    app.number_input[0].set_value(3).run()  # a lookback shorter than a patch
    assert not app.exception
    assert "within the lookback of 3 rows" in app.error[0].value


def test_a_comparison_ends_with_a_verdict_and_downloads():
    app = _open()
    app.multiselect[0].set_value(["linear-attention"]).run()
    app.button[0].click().run()
    assert not app.exception
    assert "ridge" in app.info[0].value
    assert len(app.dataframe) == 1
