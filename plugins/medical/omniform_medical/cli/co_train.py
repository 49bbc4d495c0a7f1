"""`omniform medical co-train`: one encoder from several data sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniform.cli.domain import BudgetOption, ParamsOption, StepsOption, read_budget, read_count
from omniform.cli.output import JsonOption, emit_json, progress_on_stderr

if TYPE_CHECKING:
    from omniform.training.config import Training

__all__ = ["co_train"]


def co_train(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="two or more data sets")],
    config: Any,
    training: "Training",
    out: Annotated[Path, typer.Option("--out", help="the folder to write the encoder to")],
    budget: BudgetOption = None,
    steps: StepsOption = None,
    params: ParamsOption = "700k",
    depth: Annotated[int, typer.Option("--depth", min=1, help="blocks of a layer; 1 is ResNet-10, 2 ResNet-18")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="seed of everything random")] = 0,
    json: JsonOption = False,
) -> None:
    from omniform.serial import to_json
    from omniform_medical.co_training import co_train as run

    with progress_on_stderr():
        encoder = run(
            data,
            config,
            params=read_count(params),
            depth=depth,
            budget=read_budget(budget, steps),
            training=training,
            seed=seed,
            out=out,
        )
    if json:
        emit_json({"task": "co-train", "out": str(out), **to_json(encoder)})
    else:
        before, after = encoder.losses
        print(f"{out}: loss on validation {before:.4g} before, {after:.4g} after")
