"""The hub, run headless: it opens on a domain's page, and a comparison goes through."""

from importlib.util import find_spec

import pytest

streamlit_testing = pytest.importorskip("streamlit.testing.v1")
pytest.importorskip("tsdata")


@pytest.fixture
def hub(monkeypatch):
    """The hub, opened on a domain that is named as on the command line, or on its first page."""

    def open_hub(*domain):
        monkeypatch.setattr("sys.argv", ["main.py", *domain])
        return _open()

    return open_hub


def _open():
    spec = find_spec("omniform_apps.main")
    assert spec is not None
    assert spec.origin is not None
    app = streamlit_testing.AppTest.from_file(spec.origin, default_timeout=300).run()
    assert not app.exception
    return app


def test_the_hub_opens_on_a_page(hub):
    assert [title.value for title in hub().title] == ["Source code"]
    assert [title.value for title in hub("medical").title] == ["Medical images"]
    app = hub("timeseries")
    assert [title.value for title in app.title] == ["Time series"]
    assert {"attention", "gla", "mamba"} <= set(app.multiselect(key="timeseries.compare.mixers").options)
    assert not app.error


def test_a_comparison_ends_with_a_verdict_that_stays(hub):
    app = hub("timeseries")
    app.multiselect(key="timeseries.compare.mixers").set_value(["linear-attention"]).run()
    app.button(key="timeseries.compare.go").click().run()
    assert not app.exception
    (verdict,) = [info.value for info in app.info]
    assert "ridge" in verdict
    assert len(app.dataframe) == 1
    app.run()  # as any click does, a download's too
    assert [info.value for info in app.info] == [verdict]
