"""`omniform medical prompt`: segment what a box or a click points at."""

from pathlib import Path
from typing import Annotated

import typer

from omniform.cli.output import JsonOption, emit_json, progress_on_stderr

__all__ = ["prompt"]


def prompt(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder that `train --task prompt` wrote")],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="a volume or plane: NIfTI, NRRD, MHA, DICOM, PNG")],
    out: Annotated[Path, typer.Option("--out", help="where to write the mask: .nii.gz, .nii, .nrrd, .mha or .png")],
    box: Annotated[str, typer.Option("--box", help="x0,y0,x1,y1: first and last voxel along the file's axes")] = "",
    point: Annotated[
        list[str] | None, typer.Option("--point", help="x,y of a voxel on the object, instead of a box; may repeat")
    ] = None,
    plane: Annotated[int | None, typer.Option("--plane", help="of a volume: which voxel along the third axis")] = None,
    json: JsonOption = False,
) -> None:
    import time

    import numpy as np

    from omniform_medical.prompting.api import Prompter
    from omniform_medical.reading import read_image
    from omniform_medical.writing import check_output, write_label

    start = time.perf_counter()
    check_output(out)
    asked = {
        "box": _numbers("--box", box, 4) if box else None,
        "points": [_numbers("--point", each, 2) for each in point] if point else None,
    }
    with progress_on_stderr():
        prompter = Prompter.load(run)
        like = read_image(image)
        answer = prompter.ask(like.array, plane=plane, **asked)
        write_label(answer.mask.astype(np.uint8), like, out)
    voxels = int(answer.mask.sum())
    area = voxels * float(np.prod(like.geometry.spacing[:2]))
    if json:
        emit_json(
            {
                "task": "prompt",
                "mixer": prompter.mixer,
                "run": str(run),
                "input": str(image),
                "output": str(out),
                **asked,
                "plane": plane,
                "voxels": voxels,
                "mm2": area,
                "expected_iou": answer.quality,
                "seconds": time.perf_counter() - start,
            }
        )
        return
    print(f"{voxels} voxels, {area:.4g} mm2; the network expects an overlap (IoU) of {answer.quality:.2f}")
    print(out)


def _numbers(name: str, text: str, count: int) -> list[float]:
    """Read numbers with commas.

    Raises:
        ConfigError: they are not numbers, or not so many.
    """
    from omniform.errors import ConfigError

    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise ConfigError(f"{name}: expected {count} numbers with commas, got {text!r}")
    return numbers
