"""The demonstration, with a step or two: it needs no network, and stands beside the floors."""

from importlib.util import find_spec

import pytest

from omniform_medical import demo

pytestmark = pytest.mark.skipif(find_spec("nilearn") is None, reason="nilearn is not installed")


@pytest.mark.slow
def test_the_demo_compares_mixers_beside_the_floors_at_equal_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "STEPS", 1)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the demonstration looked for a network"))
    result = demo.run(tmp_path / "out")
    contenders = {row.name: row for row in result.rows if row.role == "contender"}
    assert set(contenders) == set(demo.MIXERS)
    assert {row.error for row in result.rows} == {None}
    assert {row.steps for row in contenders.values()} == {1}
    params = [row.params for row in contenders.values() if row.params is not None]
    assert max(params) < 1.07 * min(params)
    assert {row.name for row in result.rows if row.role == "floor"} == {"atlas", "prior"}
    assert result.report.is_file()
