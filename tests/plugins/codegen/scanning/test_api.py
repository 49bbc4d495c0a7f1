"""The Python classes, as an editor and a build would use them."""

import time

import numpy as np
import pytest

from omniform.errors import ConfigError
from omniform_codegen.scanning.api import RuleScanner, Scanner, scan_files
from omniform_codegen.scanning.library import library_files

CODE = "import os\n\n\ndef f(name):\n    command = 'ls ' + name\n    os.system(command\n             )\n    return 1\n"


def test_rules_scan_without_training():
    (found,) = RuleScanner().scan(CODE, file="a.py")
    assert (found.file, found.line, found.column, found.cwe) == ("a.py", 6, 5, "CWE-78")
    assert found.region.end_line == 7
    assert found.confidence is None
    assert RuleScanner().at("x = eval(a") == {"CWE-95": 1.0}
    assert RuleScanner().at("x = 1") == {"safe": 1.0}
    assert RuleScanner().scan("") == ()


def test_a_scanner_scans_whole_files_as_if_typed(scanner):
    found = scanner.scan(CODE, file="a.py", threshold=1e-6)
    assert [f.line for f in found] == [1, 4, 5, 6, 8]
    assert all(0 <= f.confidence <= 1 for f in found)
    told = scanner.at(CODE[: CODE.index(")\n    return") + 1])
    assert sum(told.values()) == pytest.approx(1)
    assert found[3].confidence == pytest.approx(1 - told["safe"], abs=1e-4)
    assert scanner.scan(CODE, threshold=1.0) == ()
    assert scanner.scan(b"\xff\xfe", threshold=1e-6)[0].line == 1
    assert scanner.scan("# nothing") == ()


def test_what_is_not_yet_statement_is_judged_too(scanner):
    assert set(scanner.at("")) == set(scanner.at("x = (")) >= {"safe", "CWE-89"}


def test_probabilities_do_not_depend_on_company(scanner):
    prefixes = [b"x = eval(a)", b"def f(a):\n    return pickle.loads(a", b"y = 3"]
    together = scanner.weakness(prefixes)
    np.testing.assert_allclose(together, [scanner.weakness([p])[0] for p in prefixes], atol=1e-5)


def test_saving_and_loading_change_nothing(scanner, tmp_path):
    scanner.save(tmp_path / "run")
    again = Scanner.load(tmp_path / "run")
    assert again.at(CODE) == pytest.approx(scanner.at(CODE), abs=1e-5)
    assert again.config == scanner._ready().config


def test_a_large_file_takes_seconds_and_a_keystroke_a_moment(scanner):
    code = max((file.code for file in library_files()), key=len)[:18_000]
    start = time.perf_counter()
    scanner.scan(code)
    assert time.perf_counter() - start < 20  # two on a quiet machine
    prefix = code[:9_000]
    scanner.at(prefix)
    moments = []
    for _ in range(7):
        start = time.perf_counter()
        scanner.at(prefix)
        moments.append(time.perf_counter() - start)
    assert min(moments) < 0.05


def test_files_are_scanned_one_after_another(tmp_path):
    for name in ("b.py", "a.py"):
        (tmp_path / name).write_text(CODE)
    found = list(scan_files(RuleScanner(), [tmp_path]))
    assert [(name, len(findings)) for name, findings in found] == [
        (str(tmp_path / "a.py"), 1), (str(tmp_path / "b.py"), 1),
    ]  # fmt: skip


def test_mistakes_are_refused(scanner):
    with pytest.raises(ConfigError, match="threshold"):
        scanner.scan(CODE, threshold=0.0)
    with pytest.raises(ConfigError, match="threshold"):
        RuleScanner().scan(CODE, threshold=2.0)
    with pytest.raises(ConfigError, match="fit"):
        Scanner().at("x")


def test_scores_stand_beside_the_floors(scanner):
    scores = scanner.evaluate()
    assert list(scores) == ["attention", "rules", "bandit", "prior"]
    assert scores["rules"]["f1"] > scores["bandit"]["f1"] > scores["prior"]["f1"] == 0
