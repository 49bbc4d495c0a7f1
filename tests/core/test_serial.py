"""Dataclasses survive JSON exactly, and nothing else passes for one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from omniform.errors import ConfigError, RunError
from omniform.serial import from_json, read_json, to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    depth: int = 2

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ConfigError("expected a positive depth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    count: int = 1
    rate: float = 0.5
    name: str = "x"
    flag: bool = False
    limit: float | None = None
    mode: Literal["a", "b", 3] = "a"
    widths: tuple[int, ...] = (1, 2)
    pair: tuple[str, float] = ("p", 1.0)
    split: tuple[int, int] | tuple[float, float] | None = None
    path: Path = Path("x/y")
    inner: Inner = Inner()
    rest: Mapping[str, Any] | None = None


@pytest.mark.parametrize(
    "value",
    [
        Outer(),
        Outer(limit=math.inf, mode=3, widths=(), split=(0.5, 0.25), inner=Inner(depth=7), rest={"a": [1]}),
        Outer(rate=1e-300, flag=True, split=(3, 4), path=Path("/z")),
    ],
)
def test_comes_back_equal(value: Outer) -> None:
    text = json.dumps(to_json(value), allow_nan=False)
    back = from_json(Outer, json.loads(text), where="here")
    assert back == value
    assert repr(back) == repr(value), "types are kept, not only values"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"count": 1.0}, "count: expected int, got 1.0"),
        ({"count": True}, "count: expected int, got True"),
        ({"rate": "0.5"}, "rate: expected float, got '0.5'"),
        ({"rate": False}, "rate: expected float"),
        ({"flag": 1}, "flag: expected bool"),
        ({"limit": "none"}, "limit: expected float | None"),
        ({"mode": "c"}, "mode: expected Literal"),
        ({"widths": [1, "2"]}, "widths[1]: expected int"),
        ({"widths": 3}, "widths: expected tuple"),
        ({"pair": ["p"]}, "pair: expected tuple"),
        ({"inner": {"depth": 0}}, "inner: expected a positive depth"),
        ({"inner": {"depth": 1, "more": 2}}, "inner: unknown field 'more'"),
        ({"inner": [1]}, "inner: expected an object"),
        ({"colour": 1}, "unknown field 'colour'"),
    ],
)
def test_an_edit_is_refused_by_its_field(edit: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError) as caught:
        from_json(Outer, {**to_json(Outer()), **edit}, where="run/config.json")
    assert message in str(caught.value)
    assert str(caught.value).startswith("run/config.json")
    assert "\n" not in str(caught.value)


def test_a_missing_field_is_refused() -> None:
    value = to_json(Outer())
    del value["rate"]
    with pytest.raises(RunError, match="'rate' is missing"):
        from_json(Outer, value, where="here")


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        to_json((object(),))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    with pytest.raises(RunError, match=r"some\.json.*missing"):
        read_json(path)
    for content in (b'{"a": ', b"\xff\xfe\x00", b""):
        path.write_bytes(content)
        with pytest.raises(RunError, match=r"expected JSON in .*some\.json"):
            read_json(path)
