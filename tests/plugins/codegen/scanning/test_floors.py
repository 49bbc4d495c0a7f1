"""Floors: rules on the last statement, bandit in this process, and what training says about both."""

import time

import numpy as np
import pytest

from omniform.task import Splits
from omniform_codegen.scanning.bandit import bandit_types
from omniform_codegen.scanning.floors import Alarms, floors_of
from omniform_codegen.scanning.rules import broken_rules
from omniform_codegen.scanning.snippets import Snippet, Snippets

KNOWN = [
    ("CWE-78", b"import subprocess\nsubprocess.run(c, shell=True)"),
    ("CWE-78", b"import os\nos.system('ls ' + name"),
    ("CWE-78", b"import os\nc = 'ls ' + a\nos.system(c)"),
    ("CWE-89", b"q = \"SELECT * FROM t WHERE a = '%s'\" % a\nc = 1\ndb.execute(q)"),
    ("CWE-95", b"x = eval(a"),
    ("CWE-295", b"import requests\nrequests.get(u, verify=False"),
    ("CWE-327", b"import hashlib\nh = hashlib.md5(x).hexdigest("),
    ("CWE-502", b"import pickle\nwith open(p, 'rb') as f:\n    x = pickle.load(f"),
    ("CWE-703", b"assert user.is_admin"),
    ("CWE-732", b"import os\nos.chmod(p, 0o777)"),
    ("CWE-798", b"password = 'hunter2!'"),
]
CALM = [
    b"subprocess.run(['ls', name])",
    b"db.execute('SELECT * FROM t WHERE a = ?', (a,))",
    b"x = ast.literal_eval(a)",
    b"h = hashlib.sha256(x)",
    b"x = yaml.safe_load(f)",
    b"os.chmod(p, 0o600)",
    b"password = os.environ['PASSWORD']",
    b"tar.extractall(p, filter='data')",
    b"os.system('sync')",
]


@pytest.mark.parametrize(("cwe", "code"), KNOWN)
def test_rules_find_the_usual(cwe, code):
    assert cwe in broken_rules(code)


@pytest.mark.parametrize("code", CALM)
def test_rules_leave_the_usual_remedies_alone(code):
    assert broken_rules(code) == ()


def test_rules_speak_of_the_last_statement_only():
    assert broken_rules(b"x = eval(a)\ny = 1\n") == ()
    assert broken_rules(b"") == ()


@pytest.mark.parametrize(("cwe", "code"), [pair for pair in KNOWN if pair[0] != "CWE-89"])
def test_bandit_finds_the_usual_in_code_that_was_cut(cwe, code):
    assert cwe in bandit_types(code)


def test_bandit_speaks_of_the_last_statement_and_runs_nothing(tmp_path):
    assert bandit_types(b"x = eval(a)\ny = 1\n") == ()
    assert bandit_types(b"\0 = (") == ()
    flag = tmp_path / "flag"
    assert bandit_types(b"import os\nos.system('touch %s')" % bytes(flag)) == ("CWE-78",)
    assert not flag.exists()


def test_bandit_is_quick():
    code = b"import os\ndef f(a):\n    return os.system('ls ' + a)\n"
    bandit_types(code)
    start = time.perf_counter()
    for _ in range(20):
        bandit_types(code)
    assert time.perf_counter() - start < 2


def test_alarms_weigh_what_training_says():
    """Of four alarms three were right; of two silent snippets one was weak."""
    labels = ["CWE-95", "CWE-95", "CWE-95", "safe", "CWE-78", "safe"]
    codes = [b"eval(a)"] * 4 + [b"x = 1"] * 2
    train = Snippets(tuple(Snippet(c, label) for c, label in zip(codes, labels, strict=True)))
    fitted = Alarms(broken_rules, ("CWE-78", "CWE-95")).fit(Splits(train, train, train), seed=0)
    told = fitted.predict(Snippets((Snippet(b"eval(b)"), Snippet(b"y"))))
    np.testing.assert_allclose(told.probabilities, [[1 / 3, 0, 2 / 3], [0.5, 0.5, 0]])
    assert told.classes == ("safe", "CWE-78", "CWE-95")


def test_rules_come_first():
    assert [floor.name for floor in floors_of(("CWE-78",))] == ["rules", "bandit", "prior"]
