"""Measure the memory that segmenting a large CT takes, in a process of its own; write it beside this file.

    python benchmarks/memory.py

512 x 512 x 600 synthetic voxels, 20 classes, prepared and segmented by windows of 128 x 128 x 64 that overlap by half.
The network is a pooled convolution: what is measured is everything around it. Some minutes on one core.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from omniform.versions import versions

RESULT = Path(__file__).parent / "results" / "memory.json"
SHAPE = (512, 512, 600)
PATCH = (128, 128, 64)
CLASSES = 20
OVERLAP = 0.5
GOAL = 6.0  # GB


def main() -> None:
    if "--child" in sys.argv:
        print(json.dumps(measure()))
        return
    # nothing heavy is imported here: Linux counts a parent's peak as the child's
    command = [sys.executable, __file__, "--child"]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True
    )
    naive = CLASSES * math.prod(SHAPE) * 4 / 1e9
    setting = {"voxels": SHAPE, "patch": PATCH, "classes": CLASSES, "overlap": OVERLAP, "threads": 1}
    measured = json.loads(done.stdout)
    result = {
        "command": "python benchmarks/memory.py",
        "versions": versions(),
        **setting,
        "goal_gb": GOAL,
        "naive_accumulator_gb": naive,
        **measured,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(measured, indent=2))


def measure() -> dict[str, Any]:
    """Return the peak of this process after each step in GB, what the arrays take by formula, and seconds."""
    import numpy as np
    import torch

    from omniform_medical.case import Volume
    from omniform_medical.geometry import Geometry
    from omniform_medical.image import Image
    from omniform_medical.inference import segment
    from omniform_medical.plan import Intensity, Plan
    from omniform_medical.preprocessing import prepare

    torch.set_num_threads(1)
    peaks = {"imports": peak()}
    voxels = np.empty((1, *SHAPE), dtype=np.float32)
    random = np.random.default_rng(0)
    for plane in voxels[0]:
        plane[:] = random.normal(50, 100, plane.shape)
    like = Image(voxels[0], Geometry(SHAPE, np.diag([0.8, 0.8, 1.0, 1.0])), Path("ct.nii.gz"))
    volume = Volume(voxels, None, like)
    peaks["volume"] = peak()
    plan = Plan(
        spacing=(0.8, 0.8, 1.0),
        patch=PATCH,
        strides=(),
        normalization=("ct",),
        intensities=(Intensity(low=-200, high=300, mean=50, std=100),),
        batch=2,
    )
    begin = time.perf_counter()
    prepared = prepare(volume, plan, "ct")
    prepared_in = time.perf_counter() - begin
    peaks["prepare"] = peak()
    convolution = torch.nn.Conv3d(1, CLASSES, 3, padding=1).requires_grad_(False)

    def decode(windows: torch.Tensor) -> torch.Tensor:
        logits = 30 * convolution(torch.nn.functional.avg_pool3d(windows, 4))
        return torch.nn.functional.interpolate(logits, windows.shape[2:], mode="trilinear").softmax(dim=1)

    begin = time.perf_counter()
    found = segment(decode, prepared, plan, classes=CLASSES, overlap=OVERLAP)
    segmented_in = time.perf_counter() - begin
    peaks["segment"] = peak()
    rows = (PATCH[2] + 1) * SHAPE[0] * SHAPE[1]
    return {
        "peak_gb": peaks["segment"],
        "peak_gb_after": peaks,
        "arrays_gb": {
            "volume": voxels.nbytes / 1e9,
            "prepared": prepared.image.nbytes / 1e9,
            "open_rows": (CLASSES + 1) * rows * 4 / 1e9,
            "window": CLASSES * math.prod(PATCH) * 4 / 1e9,
            "label_and_confidence": (found.label.nbytes + found.confidence.nbytes) / 1e9,
        },
        "seconds": {"prepare": prepared_in, "segment": segmented_in},
        "classes_found": len(np.unique(found.label)),
    }


def peak() -> float:
    """Return the most memory that this process has had resident, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


if __name__ == "__main__":
    main()
