"""`omniform codegen personalize`: tune a model to a repository, and measure on its later commits what that brought."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniform.cli.output import JsonOption, console, emit_json, progress_on_stderr
from omniform.errors import ConfigError

if TYPE_CHECKING:
    from omniform.task import Budget

__all__ = ["personalize"]


def personalize(
    repo: Annotated[Path, typer.Argument(metavar="REPO", help="a local git repository")],
    base: Annotated[
        str, typer.Option("--base", help="a run folder, a Hugging Face folder, or `owner/name` on the hub")
    ],
    out: Annotated[Path, typer.Option("--out", help="a new folder for what was trained and what it brought")],
    method: Annotated[
        str, typer.Option("--method", help="what trains: full, adapter, prefix, bias, embeddings or last-layer")
    ] = "adapter",
    budget: Annotated[str | None, typer.Option("--budget", help="how long to train: 90s, 2m, 1h")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="how long to train, in steps")] = None,
    rank: Annotated[int, typer.Option("--rank", help="rank of an adapter's updates")] = 8,
    prefix_length: Annotated[int, typer.Option("--prefix-length", help="tokens of a prefix")] = 16,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="peak learning rate; the method's own if unsaid")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="windows in a batch")] = 16,
    context: Annotated[
        int | None, typer.Option("--context", min=128, help="tokens of a window; the model's, up to 1024, if unsaid")
    ] = None,
    author: Annotated[
        str | None, typer.Option("--author", help="measure on this author's commits alone: an address or its hash")
    ] = None,
    shares: Annotated[
        str, typer.Option("--shares", help="past to train on, next commits to stop by, later ones to measure on")
    ] = "0.7,0.1,0.2",
    suffixes: Annotated[
        str, typer.Option("--suffixes", help="which files are read, by the ends of their names, with commas between")
    ] = ".py",
    licences: Annotated[
        str, typer.Option("--licences", help="keep files of these SPDX licences only; all if empty")
    ] = "",
    gaps: Annotated[int, typer.Option("--gaps", min=0, help="added lines that are filled in, before and after")] = 64,
    also: Annotated[
        str | None, typer.Option("--also", help="other sources, a folder or `sample`, to see what was forgotten")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="of initialisation, order and gaps")] = 0,
    json: JsonOption = False,
) -> None:
    import shlex
    import sys

    from omniform.adaptation.settings import Adaptation
    from omniform.training.config import Training
    from omniform_codegen.api import load_language
    from omniform_codegen.config import CompleteConfig
    from omniform_codegen.history import split_history
    from omniform_codegen.personalization import personalize, save_personalization
    from omniform_codegen.reading import read_corpus

    length = _budget(budget, steps)
    settings = Adaptation(method=method, rank=rank, prefix_length=prefix_length)  # pyright: ignore[reportArgumentType]
    config = CompleteConfig(suffixes=suffixes, licences=licences, split=shares)
    _check_free(out)
    with progress_on_stderr():
        language = load_language(base)
        history = split_history(repo, config.shares(), config, author=author)
        other = None if also is None else read_corpus(also, config)
        told = personalize(
            language,
            history,
            settings=settings,
            budget=length,
            training=Training(learning_rate=learning_rate, batch_size=batch_size),
            context=context,
            seed=seed,
            gaps=gaps,
            other=other,
        )
        typed = ["AUTHOR" if argument == author else argument for argument in sys.argv[1:]]  # whose it is stays unsaid
        command = shlex.join(["omniform", *typed])
        record = save_personalization(told, out, base=base, command=command, fingerprint=history.train.fingerprint())
    if json:
        emit_json({"task": "personalize", "mixer": language.name, "run": str(out), **record})
        return
    _show(record, out)


def _show(record: dict[str, Any], out: Path) -> None:
    from rich.table import Table

    from omniform.compare import numerals
    from omniform.compare.bootstrap import Difference

    table = Table("metric", "before", "after", "difference, 95 % interval", "units")
    for name, row in record["metrics"].items():
        low, high = row["interval"] or (None, None)
        change = Difference(value=row["difference"], low=low, high=high)
        table.add_row(
            name,
            numerals.level(row["before"]),
            numerals.level(row["after"]),
            numerals.difference(change),
            str(row["units"]),
        )
    console().print(table)
    cost = record["cost"]
    print(
        f"{record['method']['method']}: {cost['trained']:,} of {cost['parameters']:,} parameters trained, "
        f"{cost['stored_bytes'] / 1e6:.2f} MB stored, {cost['steps']} steps, {numerals.span(cost['seconds'])}, "
        f"{cost['flops']:.2e} FLOPs"
    )
    print(f"{record['verdict']}\n{out}")


def _budget(budget: str | None, steps: int | None) -> "Budget | None":
    from omniform.task import Budget

    if budget is not None and steps is not None:
        raise ConfigError("expected --budget or --steps, got both; give one")
    if steps is not None:
        return Budget(steps=steps)
    return None if budget is None else Budget.parse(budget)


def _check_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"expected --out to name a new or empty folder, got {out}")
