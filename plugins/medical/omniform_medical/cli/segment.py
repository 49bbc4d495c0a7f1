"""`omniform medical segment`: segment images with a trained run, on their own grids."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from omniform.cli.output import JsonOption, console, emit_json, progress_on_stderr

if TYPE_CHECKING:
    from omniform_medical.segmentation import Segmentations
    from omniform_medical.volumes import LabelVolume

__all__ = ["segment"]

_ENDINGS = {"nifti": ".nii.gz", "nrrd": ".nrrd", "dicom-seg": ".dcm"}


def segment(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder that `train --task segment` wrote")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="images, folders of them, DICOM series, zips")
    ],
    out: Annotated[Path, typer.Option("--out", help="a file for one case (its ending is the format), or a folder")],
    confidence: Annotated[bool, typer.Option("--confidence", help="write NAME_confidence beside the labels")] = False,
    volumes: Annotated[Path | None, typer.Option("--volumes", help="a table of volumes: .csv or .json")] = None,
    overlay: Annotated[Path | None, typer.Option("--overlay", help="a folder for a picture of each case")] = None,
    format: Annotated[
        Literal["nifti", "nrrd", "dicom-seg"] | None,
        typer.Option("--format", help="of the files in a folder; dicom-seg repeats the patient's data of its source"),
    ] = None,
    json: JsonOption = False,
) -> None:
    import time

    from omniform_medical.api import Segmenter
    from omniform_medical.volumes import label_volumes

    start = time.perf_counter()
    wanted = _wanted(out, format, confidence=confidence, volumes=volumes, overlay=overlay)
    with progress_on_stderr():
        segmenter = Segmenter.load(run)
        predictions = segmenter.segment(inputs)
        paths = wanted.write(predictions)
    rows = label_volumes(predictions)
    if json:
        report = {"task": "segment", "mixer": segmenter.mixer, "run": str(run), "inputs": inputs}
        report |= _report(predictions, rows, paths)
        emit_json(report | {"seconds": time.perf_counter() - start})
        return
    _print(predictions, rows)
    print(out)


def _wanted(out: Path, format: str | None, **options: Any) -> Any:
    """Return what to write.

    Raises:
        ConfigError: the format contradicts the ending of the file.
    """
    from omniform.errors import ConfigError
    from omniform_medical.output import Wanted, ending_of

    ending = _ENDINGS[format or "nifti"]
    wanted = Wanted(out=out, ending=ending, **options)
    if format and ending_of(out) not in ("", ending):
        raise ConfigError(f"expected a file that ends in {ending} for --format {format}, got {out.name!r}; drop one")
    return wanted


def _report(predictions: "Segmentations", rows: "list[LabelVolume]", paths: list[Path]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "outputs": [str(path) for path in paths],
        "volumes": [asdict(row) for row in rows],
        "estimate": _told(predictions),
    }


def _told(predictions: "Segmentations") -> str:
    """Return how far the estimated Dice can be trusted."""
    from omniform_medical.quality import Check

    return str(predictions.quality.case if predictions.quality else Check())


def _print(predictions: "Segmentations", rows: "list[LabelVolume]") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("case", "label", "mL", "mean confidence", "estimated Dice", title=f"{len(predictions.cases)} cases")
    for row in rows:
        numbers = (f"{row.volume_ml:.4g}", _share(row.mean_confidence), _share(row.estimated_dice))
        table.add_row(Text(row.case), Text(row.label), *numbers)
    console().print(table)
    print(f"Dice is estimated without truth: {_told(predictions)}")


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
