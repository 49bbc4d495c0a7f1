"""What compiles, and what is refused before it can do harm."""

import time

import pytest

from omniform_codegen.franc.compiling import find_fault, scan


def test_faults_are_named_with_their_line():
    assert find_fault("x = 1\n") is None
    fault = find_fault("x = 1\ny = (2,\n")
    assert fault is not None
    assert (fault.line, "never closed" in fault.message) == (2, True)


@pytest.mark.parametrize(
    "bomb",
    [
        "(" * 5000 + ")" * 5000,
        "-" * 50_000 + "1",
        "a" + ".a" * 40_000,
        "1" + "+1" * 40_000,
        "not " * 20_000 + "1",
        "[" * 90,
        "f'" + "{" * 90,
        "x = 1\n" * 50_000,
        "9**9**9**9**9",
        "'a' * 10**12",
        "1" * 9000,
        "x = '\0'",
        "x = '\ud800'",
        "".join(" " * i + "if 1:\n" for i in range(200)),
    ],
    ids=range(14),
)
def test_bombs_are_defused_quickly(bomb):
    start = time.perf_counter()
    find_fault(bomb)
    assert time.perf_counter() - start < 3


def test_nothing_is_executed(tmp_path):
    mark = tmp_path / "mark"
    assert find_fault(f"open({str(mark)!r}, 'w').close()\n") is None
    assert not mark.exists()


@pytest.mark.parametrize(
    ("code", "quote", "closing"),
    [
        ("f(a, [b, {c", "", "}])"),
        ("f('(', \"[\") # {", "", ""),
        ('x = """(\n"', '"""', ""),
        ("x = ['a', 'b", "'", "]"),
        ("x = 'a\ny = (1", "", ")"),
        ("x = '\\'(' + (", "", ")"),
        ("x = ''\ny = ''' '' '''", "", ""),
        (")(", "", ")"),
    ],
)
def test_what_is_open_at_the_end_is_found(code, quote, closing):
    found = scan(code)
    assert (found.quote, found.closing) == (quote, closing)
