"""The commands that every domain shares, and the application `omniform DOMAIN` that holds them."""

import inspect
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniform.cli.options import Slot, fields_slot, markup_free, with_slots
from omniform.cli.output import JsonOption, emit_json, emit_scores, progress_on_stderr
from omniform.errors import ConfigError
from omniform.plugins import suggest
from omniform.specs import Domain, TaskEntry

if TYPE_CHECKING:
    from omniform.task import Budget, Task
    from omniform.training.config import Training

__all__ = [
    "SHARED", "BudgetOption", "DataArgument", "DepthOption", "ParamsOption", "StepsOption", "domain_app",
    "evaluate", "read_budget", "read_count",
]  # fmt: skip

DataArgument = Annotated[
    str, typer.Argument(metavar="DATA", help="a file or folder, or `sample` for the embedded data")
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder that `train` wrote")]
BudgetOption = Annotated[str | None, typer.Option("--budget", help="time to train, such as 90s, 2m, 1h; 2m if unsaid")]
StepsOption = Annotated[int | None, typer.Option("--steps", min=1, help="optimiser steps, instead of a time")]
ParamsOption = Annotated[str, typer.Option("--params", help="trainable parameters to aim at, such as 200k or 1.5M")]
DepthOption = Annotated[int, typer.Option("--depth", min=1, help="layers of the network")]


def domain_app(domain: Domain, arguments: Sequence[str]) -> typer.Typer:
    """Build `omniform DOMAIN`. `arguments` are those behind the domain's name.

    Only the command that they invoke gets its options, because deriving them imports the task.
    """
    tasks = "\n\n".join(f"Task {task.name}: {task.summary}" for task in domain.tasks)
    app = typer.Typer(
        help=markup_free(f"{domain.title}. {domain.summary}\n\n{tasks}"), add_completion=False, rich_markup_mode="rich"
    )
    invoked = next((word for word in arguments if not word.startswith("-")), None)

    @app.callback(invoke_without_command=True)
    def show_help(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    extended = {verb.name for verb in domain.verbs if verb.extends}
    for name, (body, summary) in SHARED.items():
        if name in extended:
            continue
        command = _unused if name != invoked else _complete(body, domain, arguments)
        app.command(name, help=summary)(command)
    for verb in domain.verbs:
        command = _unused if verb.name != invoked else _complete(verb.command.load(), domain, arguments)
        app.command(verb.name, help=markup_free(verb.summary))(command)
    return app


def train(
    task: "Task[Any, Any]",
    data: DataArgument,
    config: Any,
    training: "Training",
    domain: str,
    mixer: Annotated[str, typer.Option("--mixer", help="a token mixer of the zoo")] = "attention",
    budget: BudgetOption = None,
    steps: StepsOption = None,
    params: ParamsOption = "200k",
    depth: DepthOption = 2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of everything random")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="run folder; runs/TASK-MIXER if unsaid")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    init: Annotated[Path | None, typer.Option("--init", help="start from the weights of this run")] = None,
    json: JsonOption = False,
) -> None:
    budget_ = read_budget(budget, steps)
    size = read_count(params)
    from omniform import commands

    with progress_on_stderr():
        report = commands.train(
            task,
            data,
            config,
            domain=domain,
            mixer=mixer,
            budget=budget_,
            training=training,
            params=size,
            depth=depth,
            seed=seed,
            out=out or Path("runs", f"{task.name}-{mixer}"),
            resume=resume,
            init=init,
        )
    if json:
        emit_json(report.as_json())
    else:
        emit_scores(report.as_json(), report.verdict)


def evaluate(run: RunArgument, data: DataArgument, json: JsonOption = False) -> None:
    from omniform import commands

    with progress_on_stderr():
        report = commands.evaluate(run, data)
    if json:
        emit_json(report.as_json())
    else:
        emit_scores(report.as_json(), report.verdict)


def predict(
    run: RunArgument,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="what to predict from")],
    out: Annotated[Path, typer.Option("--out", help="where to write, in the field's own format")],
    json: JsonOption = False,
) -> None:
    from omniform import commands

    with progress_on_stderr():
        report = commands.predict(run, inputs, out)
    if json:
        emit_json(report.as_json())
    else:
        print(*report.outputs, sep="\n")


def compare(
    task: "Task[Any, Any]",
    data: DataArgument,
    config: Any,
    training: "Training",
    domain: str,
    command: str,
    mixers: Annotated[str, typer.Option("--mixers", help="contenders, with commas")] = "attention,gla,mamba",
    budget: BudgetOption = None,
    steps: StepsOption = None,
    params: ParamsOption = "200k",
    depth: DepthOption = 2,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="runs per contender")] = 3,
    out: Annotated[Path | None, typer.Option("--out", help="folder; runs/TASK-compare if unsaid")] = None,
    json: JsonOption = False,
) -> None:
    names = [name.strip() for name in mixers.split(",") if name.strip()]
    if not names:
        raise ConfigError("expected --mixers such as attention,gla; got none")
    budget_ = read_budget(budget, steps)
    size = read_count(params)
    from omniform.compare import compare as run_comparison

    with progress_on_stderr():
        result = run_comparison(
            task,
            data,
            config,
            domain=domain,
            mixers=names,
            budget=budget_,
            training=training,
            params=size,
            depth=depth,
            seeds=seeds,
            out=out or Path("runs", f"{task.name}-compare"),
            command=command,
        )
    if json:
        emit_json(result.as_json())
    else:
        print(result.summary())


def export(
    run: RunArgument,
    out: Annotated[Path, typer.Option("--out", help="the file to write")],
    format: Annotated[str, typer.Option("--format", help="what to write: onnx")] = "onnx",
    data: Annotated[str | None, typer.Option("--data", help="data to try the file on; the run's own if unsaid")] = None,
    json: JsonOption = False,
) -> None:
    from omniform.export import export_run

    with progress_on_stderr():
        report = export_run(run, format=format, out=out, data=data)
    if json:
        emit_json(report.as_json())
    else:
        print(f"{report.out}: {report.bytes:,} bytes, within {report.parity:.0e} of torch's results")


SHARED: dict[str, tuple[Callable[..., None], str]] = {
    "train": (train, "Train one network and score it beside the floor."),
    "evaluate": (evaluate, "Score a trained run on data."),
    "predict": (predict, "Predict from new input."),
    "compare": (compare, "Compare mixers at matched parameters and budget, beside the floors."),
    "export": (export, "Write a trained network as one file, checked against torch."),
}


def _unused() -> None:
    """Stand in for a command that this invocation only lists."""


def _complete(body: Callable[..., None], domain: Domain, arguments: Sequence[str]) -> Callable[..., None]:
    """Fill the slots of a body: the task, its config and the training options, where it takes them.

    The config of a verb that takes no task is that of the domain's first.
    """
    keywords = inspect.signature(body).parameters
    if not keywords.keys() & {"task", "config", "training"}:
        return body
    from omniform.training.config import Training

    entry = _pick_task(domain, arguments)
    task = entry.task.load()()
    line = shlex.join(["omniform", domain.name, *arguments])
    slots = (
        Slot(keyword="domain", parameters=(), build=lambda values: domain.name),
        Slot(keyword="command", parameters=(), build=lambda values: line),
        _task_slot(domain, entry, task),
        fields_slot("config", task.config, f"Options of {entry.name}"),
        fields_slot("training", Training, "Training"),
    )
    return with_slots(body, *(slot for slot in slots if slot.keyword in keywords))


def _pick_task(domain: Domain, arguments: Sequence[str]) -> TaskEntry:
    """Read `--task` ahead of Typer, for the options depend on it; the domain's first task where it is not said."""
    name = domain.tasks[0].name
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == "--task":
            name = following
        elif word.startswith("--task="):
            name = word.removeprefix("--task=")
    for entry in domain.tasks:
        if entry.name == name:
            return entry
    raise ConfigError(f"{domain.name} has no task {name!r}; {suggest(name, [task.name for task in domain.tasks])}")


def _task_slot(domain: Domain, entry: TaskEntry, task: "Task[Any, Any]") -> Slot:
    names = " | ".join(other.name for other in domain.tasks)
    option = typer.Option("--task", help=f"what to learn, with the options below: {names}")
    annotation = Annotated[str, option]
    parameter = inspect.Parameter("task", inspect.Parameter.KEYWORD_ONLY, default=entry.name, annotation=annotation)
    return Slot(keyword="task", parameters=(parameter,), build=lambda values: task)


def read_budget(budget: str | None, steps: int | None) -> "Budget":
    """Read `--budget` or `--steps`, two minutes where neither is said."""
    from omniform.task import Budget

    if budget is not None and steps is not None:
        raise ConfigError(f"expected --budget or --steps, got both ({budget} and {steps}); leave one out")
    return Budget(steps=steps) if steps is not None else Budget.parse(budget or "2m")


def read_count(text: str) -> int:
    """Read `"200k"`, `"1.5M"` or `"200000"` as a number of parameters."""
    scale = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    try:
        count = round(float(text[:-1] if scale > 1 else text) * scale)
    except (ValueError, OverflowError):
        count = 0
    if count < 1:
        raise ConfigError(f"expected --params such as 200k, 1.5M or 200000; got {text!r}")
    return count
