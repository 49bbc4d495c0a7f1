"""A sandbox, and the example that the human-eval repository checks itself with."""

from __future__ import annotations

from typing import Any

import pytest

from omniform.errors import SandboxError
from omniform_codegen.sandbox import Limits, Sandbox

# data/example_problem.jsonl and data/example_samples.jsonl of github.com/openai/human-eval (MIT licence); its README
# says that they yield a pass@1 of 0.4999999999999999
_PROBLEM = {
    "task_id": "test/0",
    "prompt": "def return1():\n",
    "canonical_solution": "    return 1",
    "test": "def check(candidate):\n    assert candidate() == 1",
    "entry_point": "return1",
}
_COMPLETIONS = (
    "    import subprocess\n    subprocess.check_output('rm -rf tmp')",
    "    import time\n    time.sleep(10)\n    return 1",
    "    return input('enter a number')",
    "    return 1",
    "  return 1",
    "\treturn 1",
)


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    made = Sandbox(Limits(seconds=3.0))
    try:
        made.check()
    except SandboxError as error:
        pytest.skip(str(error))
    return made


@pytest.fixture
def example_problem() -> dict[str, Any]:
    return dict(_PROBLEM)


@pytest.fixture
def example_completions() -> tuple[str, ...]:
    return _COMPLETIONS
