"""`omniform medical plan`: work out from the training cases what a network would see, and say why."""

import shlex
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniform.cli.domain import DataArgument
from omniform.cli.output import JsonOption, console, emit_json, progress_on_stderr
from omniform.errors import ConfigError

if TYPE_CHECKING:
    from omniform_medical.planning import Proposal

__all__ = ["plan"]


def plan(
    data: DataArgument,
    config: Any,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file to write, for `train --plan` to read")] = None,
    json: JsonOption = False,
) -> None:
    if out is not None and out.is_dir():
        raise ConfigError(f"expected --out to name a file such as plan.json, got the folder {out}")
    import time

    from omniform_medical.cohort import read_cohort
    from omniform_medical.fingerprint import fingerprint
    from omniform_medical.planning import plan_cohort
    from omniform_medical.splitting import split_cohort

    start = time.perf_counter()
    with progress_on_stderr():
        training = split_cohort(read_cohort(data, config), config).train
        proposal = plan_cohort(fingerprint(training), config)
    if out is not None:
        proposal.write(out)
    command = _command(data, config, out)
    if json:
        emit_json(
            {
                "task": "plan",
                "data": data,
                "cases": len(training),
                **proposal.as_json(),
                "command": command,
                "output": None if out is None else str(out),
                "seconds": time.perf_counter() - start,
            }
        )
    else:
        _print(proposal, command)


def _command(data: str, config: Any, out: Path | None) -> str:
    """Return the command that trains by this plan, with all options that were given."""
    from omniform_medical.plan_file import PlanParts

    in_file = {"plan", "memory", *(field.name for field in fields(PlanParts))} if out is not None else set()
    words = ["omniform", "medical", "train", data]
    for field in fields(config):
        value = getattr(config, field.name)
        if value != field.default and field.name not in in_file:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{field.name.replace('_', '-')}", text]
    if out is not None:
        words += ["--plan", str(out)]
    return shlex.join([*words, "--budget", "10m"])


def _print(proposal: "Proposal[Any]", command: str) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("part", "plan", title=f"{len(proposal.fingerprint.cases)} training cases")
    for name, value in proposal.as_json()["plan"].items():
        table.add_row(name, Text(_told(value)))
    console().print(table)
    print(*proposal.why, "", command, sep="\n")


def _told(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_told(part) for part in value)
    if isinstance(value, dict):
        return "; ".join(f"{name} {_told(part)}" for name, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
