"""The zoo: every row in the repository names its paper, its code and a check that exists; the page is fresh."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from omniform import zoo
from omniform.errors import ConfigError
from omniform.plugins import host
from omniform.specs import Ref, System

ROOT = Path(__file__).parents[2]


def in_repository() -> list[System]:
    """Return the core's rows and those of the plugins of this distribution."""
    theirs = {name for plugin in host().loaded if plugin.distribution != "omniform" for name in plugin.systems}
    return [system for system in host().systems if system.id not in theirs]


ROWS = in_repository()
MIXERS = [row for row in ROWS if row.mixer]
rows = pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
mixers = pytest.mark.parametrize("row", MIXERS, ids=[row.id for row in MIXERS])


@rows
def test_row_names_itself(row):
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", row.id)
    assert row.title
    assert row.paper
    assert row.mixer <= (row.kind == "token-mixer")


@rows
def test_row_has_a_check_that_exists(row):
    path, _, test = row.check.partition("::")
    assert path.startswith(("tests/", "plugins/"))
    tree = ast.parse((ROOT / path).read_text())
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert test.split("::")[-1].partition("[")[0] in functions


@rows
def test_row_has_code(row):
    assert callable(row.code.load())


@mixers
def test_mixer_row_repeats_the_traits_of_its_class(row):
    from omniform.mixers.base import Mixer

    mixer = row.code.load()
    assert issubclass(mixer, Mixer)
    assert mixer.name == row.id
    traits = mixer.traits
    assert (traits.ranks, traits.causal, traits.stateful, traits.cost) == (
        row.ranks,
        row.causal,
        row.stateful,
        row.cost,
    )


def test_page_is_fresh():
    check = subprocess.run(
        [sys.executable, ROOT / "docs/generate_zoo.py", "--check"], capture_output=True, text=True, timeout=60
    )
    assert check.returncode == 0, check.stderr


SAMPLE = (
    System(
        id="a",
        kind="token-mixer",
        title="A | B",
        paper="2312.00752",
        code=Ref("x:A"),
        check="tests/a.py::test_a",
        mixer=True,
        ranks=(1, 2),
        causal="optional",
        stateful=True,
        cost="linear",
    ),
    System(id="b", kind="floor", title="B", paper="Hyndman 2021", code=Ref("x:B"), domain="timeseries"),
)


def test_select():
    assert zoo.select(SAMPLE) == SAMPLE
    assert [row.id for row in zoo.select(SAMPLE, kind="floor")] == ["b"]
    assert [row.id for row in zoo.select(SAMPLE, domain="core")] == ["a"]
    assert zoo.select(SAMPLE, kind="floor", domain="core") == ()
    with pytest.raises(ConfigError, match="did you mean floor"):
        zoo.select(SAMPLE, kind="flor")


def test_json_has_the_stated_keys():
    keys = ["id", "kind", "mixer", "title", "paper", "domain", "ranks", "causal", "stateful", "cost", "check"]
    for row in SAMPLE:
        assert list(zoo.as_json(row)) == keys


def test_markdown_escapes_and_links():
    page = zoo.as_markdown(SAMPLE)
    assert (
        r"| `a` | A \| B | [2312.00752](https://arxiv.org/abs/2312.00752) | core | 1, 2 | optional | yes | linear |"
        in page
    )
    assert "Hyndman 2021 |" in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {10}


def test_describe_names_everything():
    text = zoo.describe(SAMPLE[0])
    for part in (
        "a: A | B",
        "--mixer a",
        "https://arxiv.org/abs/2312.00752",
        "1, 2",
        "optional",
        "linear",
        "x:A",
        "tests/a.py",
    ):
        assert part in text
    assert "causal" not in zoo.describe(SAMPLE[1])


@pytest.mark.parametrize(
    ("paper", "link"),
    [
        ("2312.00752", "https://arxiv.org/abs/2312.00752"),
        ("doi:10.1/x", "doi:10.1/x"),
        ("Hyndman 2021", "Hyndman 2021"),
    ],
)
def test_paper_link(paper, link):
    assert zoo.paper_link(paper) == link
