"""All parts together, round a model whose answers are written down."""

import pytest

from omniform.errors import ConfigError
from omniform_codegen.franc.framework import Franc
from omniform_codegen.franc.quality import Finding
from omniform_codegen.franc.repair import repair_prompt

PROMPT = "def run(command):\n"
SHELL = "    import subprocess\n    return subprocess.call(command, shell=True)\n"
MILDER = "    import subprocess\n    return subprocess.call(command)\n"
CLEAN = "    return command.upper()\n"


class Script:
    """A model that gives what was written down, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.prompts = []

    def __call__(self, prompt, count):
        self.prompts.append(prompt)
        return self.answers.pop(0)[:count]


def test_suggestions_are_filtered_ranked_and_let_be():
    model = Script([SHELL, "prose, nothing else", MILDER, CLEAN + "\nAs you see.\n"])
    report = Franc(model).suggest(PROMPT)
    assert report.best == PROMPT + CLEAN
    assert [one.mended.suggestion for one in report.ranked] == [3, 2, 0]
    assert [one.suggestion for one in report.dropped] == [1]
    assert (report.compiled, report.repair, len(model.prompts)) == (2, None, 1)
    assert 0 < report.seconds < 10


def test_what_is_found_is_said_and_asked_again():
    model = Script([SHELL], [SHELL], [CLEAN])
    report = Franc(model, suggestions=1, rounds=3).suggest(PROMPT)
    assert report.repair is not None
    assert (report.repair.rounds, report.repair.improved) == (2, True)
    assert report.best == PROMPT + CLEAN  # the comments are not part of it
    assert [one.mended.suggestion for one in report.ranked] == [1, 0]
    assert model.prompts[0] == PROMPT
    assert model.prompts[1].startswith("# Avoid this issue: subprocess call with shell=True")
    assert "(B602)" in model.prompts[1]
    assert model.prompts[1].endswith(PROMPT)


def test_asking_ends_and_never_makes_worse():
    model = Script([MILDER], *[[SHELL]] * 5)
    report = Franc(model, suggestions=1, rounds=3).suggest(PROMPT)
    assert report.repair is not None
    assert (report.repair.rounds, report.repair.improved, len(model.prompts)) == (3, False, 4)
    assert report.best == PROMPT + MILDER
    assert len(Franc(Script([MILDER]), suggestions=1, rounds=0).suggest(PROMPT).ranked) == 1


def test_a_model_that_says_nothing_is_reported():
    report = Franc(Script([""]), suggestions=1).suggest(PROMPT)
    assert (report.best, report.ranked, len(report.dropped)) == (None, (), 1)


def test_findings_are_told_in_a_few_lines():
    findings = [Finding("error", f"R{i}", 1, "two words", 1.0) for i in (1, 1, 2, 3, 4)]
    assert repair_prompt("def f():\n", findings).splitlines() == [
        *(f"# Avoid this issue: two words (R{i})" for i in (1, 2, 3)),
        "def f():",
    ]


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ConfigError):
        Franc(Script(), suggestions=0)
    with pytest.raises(ConfigError):
        Franc(Script(), rounds=-1)
