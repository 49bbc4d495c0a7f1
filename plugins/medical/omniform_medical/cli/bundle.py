"""`omniform medical bundle`: write a run as a MONAI bundle."""

from pathlib import Path
from typing import Annotated

import typer

from omniform.cli.output import JsonOption, emit_json, progress_on_stderr

__all__ = ["bundle"]


def bundle(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder that `train --task segment` wrote")],
    out: Annotated[Path, typer.Option("--out", help="a new folder for the bundle")],
    json: JsonOption = False,
) -> None:
    import time

    from omniform_medical.bundle import export_bundle

    start = time.perf_counter()
    with progress_on_stderr():
        folder = export_bundle(run, out)
    if json:
        files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
        report = {"task": "bundle", "run": str(run), "out": str(folder), "files": files}
        emit_json(report | {"seconds": time.perf_counter() - start})
    else:
        print(folder)
