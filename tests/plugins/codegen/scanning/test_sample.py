"""Templates that are Python, labels that are right, and parts that share nothing."""

import ast
import re
import warnings
from collections import Counter

import numpy as np
import pytest

from omniform_codegen.scanning.bandit import bandit_types
from omniform_codegen.scanning.config import ScanConfig
from omniform_codegen.scanning.naming import Words, deal
from omniform_codegen.scanning.sample import sample_snippets
from omniform_codegen.scanning.statements import last_statement
from omniform_codegen.scanning.templates import families
from omniform_codegen.scanning.weaknesses import SAFE, WEAKNESSES

WORDS = Words.of_parts((0.7, 0.1, 0.2), 0)


@pytest.mark.parametrize("cwe", sorted(WEAKNESSES))
def test_every_template_is_python_and_tells_its_type_once(cwe):
    own = [family for family in families() if family.cwe == cwe]
    assert len(own) >= 5
    for family in own:
        forms = set()
        for seed in range(8):
            for weak in (True, False):
                rng = np.random.default_rng(seed)
                made = family.render(WORDS[0].draw(family.slots, rng), weak=weak, rng=rng)
                ast.parse(made.code)
                assert 0 < made.marker < len(made.code), family.group
                assert not re.search(rb"@@|\$|\[\[|;;|<<|\|\|", made.code), family.group
                forms.add((weak, made.code))
        codes = [{code for weak, code in forms if weak is kind} for kind in (True, False)]
        assert codes[0], family.group
        assert not codes[0] & codes[1], family.group


def test_every_type_of_weakness_has_templates():
    assert {family.cwe for family in families()} == set(WEAKNESSES)
    assert len({family.group for family in families()}) == len(families()) >= 100


def test_the_same_seed_gives_the_same_snippets(small, snippets):
    assert sample_snippets(small).fingerprint() == snippets.fingerprint()
    assert sample_snippets(ScanConfig(snippets=600, split_seed=1)).fingerprint() != snippets.fingerprint()


def test_parts_share_no_family_no_file_and_no_word(snippets):
    groups = {part: {i.group for i in snippets.items if i.part == part} for part in ("train", "validation", "test")}
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["validation"]
    assert not groups["validation"] & groups["test"]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not set(WORDS[one].nouns) & set(WORDS[other].nouns)
        assert not set(WORDS[one].verbs) & set(WORDS[other].verbs)


def test_every_part_has_weak_and_safe_ones_of_many_types(snippets):
    for part in ("train", "test"):
        labels = Counter(item.label for item in snippets.items if item.part == part)
        assert len(labels) > 15
        assert 0.5 < labels[SAFE] / sum(labels.values()) < 0.75


def test_much_of_it_does_not_parse(snippets):
    broken = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for item in snippets.items:
            try:
                ast.parse(item.code)
            except SyntaxError:
                broken += 1
    assert broken > 0.3 * len(snippets)


def test_twins_are_cut_where_weak_forms_are(snippets):
    """A label must not show in the length of what is typed of the last statement."""
    lengths = {True: [], False: []}
    for item in snippets.items:
        if not item.group.startswith("library"):
            start, end = last_statement(item.code)
            lengths[item.label == SAFE].append(end - start)
    assert 0.5 < np.median(lengths[True]) / np.median(lengths[False]) < 1.5


def test_bandit_finds_more_in_weak_forms_than_in_their_twins():
    """An oracle of its own: where bandit knows the type at all, whole weak forms alarm, whole twins hardly."""
    alarms = {True: 0, False: 0}
    known = ("CWE-295", "CWE-502", "CWE-703", "CWE-732", "CWE-78")
    for family in families():
        if family.cwe in known:
            for weak in (True, False):
                rng = np.random.default_rng(3)
                made = family.render(WORDS[0].draw(family.slots, rng), weak=weak, rng=rng)
                end = made.code.find(b"\n", made.marker)
                alarms[weak] += family.cwe in bandit_types(made.code[:end])
    assert alarms[True] >= 12
    assert alarms[True] >= 4 * alarms[False]


def test_dealing_gives_each_part_its_share():
    parts = deal(50, (0.7, 0.1, 0.2), np.random.default_rng(0))
    assert np.bincount(parts).tolist() == [35, 5, 10]
    assert sorted(deal(3, (0.98, 0.01, 0.01), np.random.default_rng(0))) == [0, 1, 2]
    assert np.bincount(deal(5, (0.05, 0.05, 0.9), np.random.default_rng(0))).tolist() == [1, 1, 3]
    assert deal(2, (0.7, 0.1, 0.2), np.random.default_rng(0)) == [0, 0]
