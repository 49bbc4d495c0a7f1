"""Findings that the analysers must have, and what they make of the order."""

import pytest

from omniform.errors import DataError
from omniform_codegen.franc.quality import assess
from omniform_codegen.franc.ranker import ndcg, rank, relevance
from omniform_codegen.franc.static_filter import Mended

CLEAN = "def f(x):\n    return x + 1\n"
SHELL = "import subprocess\ndef f(x):\n    subprocess.call(x, shell=True)\n"
ASSERT = "def f(x):\n    assert x\n    return x + 1\n"
BRANCHES = "def f(x):\n" + "".join(f"    if x == {i}:\n        return {i}\n" for i in range(12))


def rules(code):
    return [finding.rule for finding in assess(code).findings]


@pytest.mark.parametrize(
    ("code", "rule", "kind"),
    [
        (SHELL, "B602", "security"),
        ("import pickle\npickle.loads(b'')\n", "B301", "security"),
        ("def f(x):\n    return eval(x)\n", "B307", "security"),
        ("def f():\n    return unknown\n", "UndefinedName", "error"),
        ("def f():\n    unused = 1\n", "UnusedVariable", "error"),
        (BRANCHES, "complexity", "maintainability"),
        ("x = '" + "a" * 130 + "'\n", "line-length", "maintainability"),
    ],
)  # fmt: skip
def test_flaws_are_found(code, rule, kind):
    quality = assess(code)
    assert (rule, kind) in [(finding.rule, finding.kind) for finding in quality.findings]
    assert quality.score == pytest.approx(1 / (1 + sum(finding.weight for finding in quality.findings)))
    assert [f.weight for f in quality.findings] == sorted((f.weight for f in quality.findings), reverse=True)


def test_clean_code_has_the_best_score():
    assert assess(CLEAN).score == 1.0
    assert assess(CLEAN).findings == ()
    assert assess("from typing import List\n" + CLEAN).findings == ()  # a prompt's import, which nothing needs


def test_a_comment_silences_nobody():
    assert "B602" in rules(SHELL.replace("True)", "True)  # nosec"))


def test_grave_findings_weigh_more():
    scores = [assess(code).score for code in (CLEAN, ASSERT, SHELL)]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3
    assert [relevance(assess(code)) for code in (CLEAN, ASSERT, SHELL)] == [3, 1, 0]


def test_nothing_is_executed(tmp_path):
    mark = tmp_path / "mark"
    assess(f"open({str(mark)!r}, 'w').close()\n")
    assert not mark.exists()


def test_code_that_does_not_compile_is_refused():
    with pytest.raises(DataError, match="filter it first"):
        assess("def f(:\n")


def test_code_too_deep_to_be_analysed_is_poor():
    deep = "x = 1" + "+1" * 900 + "\n"
    assert 0 < assess(deep).score <= 1


def test_the_order_is_by_quality_and_stable():
    codes = [SHELL, CLEAN, ASSERT, CLEAN]
    ranked = rank([Mended(number, code, (), True) for number, code in enumerate(codes)])
    assert [one.mended.suggestion for one in ranked] == [1, 3, 2, 0]


def test_ndcg_is_its_formula():
    assert ndcg([3, 2, 1]) == 1.0
    assert ndcg([0, 0]) == 1.0
    assert ndcg([]) == 1.0
    expected = (1 / 1 + 7 / 1.584962500721156) / (7 / 1 + 1 / 1.584962500721156)
    assert ndcg([1, 3]) == pytest.approx(expected)
    assert ndcg([0] * 10 + [3], at=10) == 0.0
