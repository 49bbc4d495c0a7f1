"""The hub and the time-series page, run headless."""

from importlib.util import find_spec

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
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


def test_an_upload_is_kept_once_and_its_result_stays():
    rng = np.random.default_rng(0)
    stamps = pd.date_range("2024-01-01", periods=600, freq="h")
    table = pd.DataFrame(
        {"time": stamps, "load": 10 + np.sin(np.arange(600) / 24 * 2 * np.pi) + rng.normal(0, 0.1, 600)}
    )
    app = _open()
    app.radio[0].set_value("upload").run()
    app.file_uploader[0].set_value(("load.csv", table.to_csv(index=False).encode(), "text/csv")).run()
    assert not app.exception
    assert not app.error
    app.multiselect[0].set_value(["linear-attention"]).run()
    app.button[0].click().run()
    (verdict,) = [info.value for info in app.info]
    app.run()  # as any click does, a download's too
    assert [info.value for info in app.info] == [verdict]
