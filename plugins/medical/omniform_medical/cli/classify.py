"""`omniform medical classify`: say what pictures show, and where the network looked."""

from pathlib import Path
from typing import Annotated

import typer

from omniform.cli.output import JsonOption, console, emit_json, progress_on_stderr

__all__ = ["classify"]


def classify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder that `train --task classify` wrote")],
    source: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="pictures, or one folder, .npz, .csv or `sample`")
    ],
    out: Annotated[Path, typer.Option("--out", help="where to write the table: .csv")],
    heat_maps: Annotated[
        Path | None, typer.Option("--heat-maps", help="a folder for a PNG a picture: where the network looked")
    ] = None,
    json: JsonOption = False,
) -> None:
    import time
    from collections import Counter

    from omniform_medical.classification.api import ImageClassifier
    from omniform_medical.classification.output import write_heat_maps, write_predictions

    start = time.perf_counter()
    with progress_on_stderr():
        classifier = ImageClassifier.load(run)
        told = classifier.predictions(source[0] if len(source) == 1 else source)
        heat = None if heat_maps is None else classifier.explained(told)
        write_predictions(told, out)
        if heat_maps is not None and heat is not None:
            write_heat_maps(told, heat, heat_maps)
    counts = dict(sorted(Counter(told.labels).items()))
    if json:
        emit_json(
            {
                "task": "classify",
                "mixer": classifier.mixer,
                "run": str(run),
                "input": source,
                "output": str(out),
                "heat_maps": None if heat_maps is None else str(heat_maps),
                "pictures": len(told.items),
                "labels": counts,
                "seconds": time.perf_counter() - start,
            }
        )
        return
    from rich.table import Table

    table = Table("class", "pictures", title=f"{len(told.items)} pictures")
    for name, count in counts.items():
        table.add_row(name, str(count))
    console().print(table)
    print(out)
