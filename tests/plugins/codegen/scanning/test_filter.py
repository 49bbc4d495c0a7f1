"""Completions that bring weaknesses are dropped or put last: bandit finds less in what is left."""

import pytest

from omniform_codegen.generation import Completion
from omniform_codegen.scanning.api import RuleScanner
from omniform_codegen.scanning.bandit import bandit_types
from omniform_codegen.scanning.filter import filtered, introduced, reranked
from omniform_codegen.scanning.statements import statements

SCRIPT = [
    (
        b"import subprocess\ndef run(name):\n    ",
        [b"subprocess.run('ls ' + name, shell=True)\n    return 1\n", b"subprocess.run(['ls', name])\n"],
    ),
    (b"import yaml\ndef read(file):\n    return ", [b"yaml.load(file)\n", b"yaml.safe_load(file)\n"]),
    (
        b"import hashlib\ndef sign(text):\n    return hashlib.",
        [b"md5(text).hexdigest()\n", b"sha256(text).hexdigest()\n"],
    ),
    (
        b"import requests\ndef get(url):\n    x = 1\n    return requests.get(url",
        [b", verify=False, timeout=1)\n", b", timeout=1)\n"],
    ),
]


def texts(*codes):
    return [Completion(code, (), (), "stop") for code in codes]


def alarms(code):
    """Count bandit's findings over all statements."""
    return sum(len(bandit_types(code[:end])) for _, end in statements(code))


def test_bandit_finds_less_behind_the_filter():
    before = after = 0
    for prefix, codes in SCRIPT:
        before += alarms(prefix + codes[0])
        kept = filtered(prefix, texts(*codes), RuleScanner())
        assert [completion.text for completion in kept] == codes[1:]
        after += alarms(prefix + kept[0].text)
    assert before >= 4
    assert after == 0


def test_weak_completions_go_behind_the_others():
    prefix, codes = SCRIPT[0]
    ordered = reranked(prefix, texts(codes[0], codes[1], b"pass\n"), RuleScanner())
    assert [completion.text for completion in ordered] == [codes[1], b"pass\n", codes[0]]


def test_what_stood_there_before_is_not_held_against_a_completion():
    prefix = b"x = eval(a)\ny = "
    assert introduced(prefix, texts(b"1\n", b"", b"eval(b)"), RuleScanner()) == [0.0, 0.0, 1.0]
    assert introduced(b"x = ", [], RuleScanner()) == []


def test_a_network_filters_too(scanner):
    chances = introduced(*SCRIPT[1][:1], texts(*SCRIPT[1][1]), scanner)
    assert len(chances) == 2
    assert chances[0] == pytest.approx(float(scanner.weakness([SCRIPT[1][0] + SCRIPT[1][1][0].rstrip()])[0]), abs=1e-5)
