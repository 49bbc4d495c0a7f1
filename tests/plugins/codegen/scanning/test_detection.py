"""The check of the catalogue: a small trained scanner against bandit and regular expressions, on code that was cut."""

import numpy as np
import pytest

from omniform.training.config import Training
from omniform_codegen.generation import Completion
from omniform_codegen.scanning.api import Scanner
from omniform_codegen.scanning.bandit import bandit_types
from omniform_codegen.scanning.filter import filtered
from omniform_codegen.scanning.sample import workshops
from omniform_codegen.scanning.statements import statements

STEPS = "400"


@pytest.fixture(scope="module")
def trained() -> Scanner:
    return Scanner(training=Training(precision="32", device="cpu")).fit("sample", budget=STEPS, progress=False)


@pytest.mark.slow
def test_a_trained_scanner_beats_bandit_on_families_it_never_saw(trained):
    scores = trained.evaluate()
    assert scores["attention"]["f1"] > scores["bandit"]["f1"] + 0.1
    assert scores["attention"]["average_precision"] > scores["bandit"]["average_precision"] + 0.05
    assert scores["attention"]["type_accuracy"] > scores["bandit"]["type_accuracy"]


@pytest.mark.slow
def test_bandit_finds_less_in_completions_that_the_scanner_let_through(trained):
    """Two completions each, the weak form and its twin: as a model might propose them."""
    workshop = workshops((0.7, 0.1, 0.2), 0)[2]
    rng = np.random.default_rng(0)
    before = after = kept = 0
    for own in workshop.families.values():
        for family in own:
            if ":\n" not in family.text:
                continue
            names = workshop.words.draw(family.slots, rng)
            pair = [family.render(names, weak=weak, rng=rng).code for weak in (True, False)]
            bodies = [code.index(b":\n") + 2 for code in pair]
            head = pair[0][: bodies[0]]
            proposed = [Completion(code[body:], (), (), "end") for code, body in zip(pair, bodies, strict=True)]
            through = filtered(head, proposed, trained)
            before += sum(map(_alarms, pair))
            after += sum(_alarms(head + completion.text) for completion in through)
            kept += len(through)
    assert before >= 4
    assert after < before
    assert kept >= 10


def _alarms(code: bytes) -> int:
    return sum(len(bandit_types(code[:end])) for _, end in statements(code))
