"""Train the toy network in a process of its own: `python killed_run.py FOLDER STEPS resume|start`.

Checkpoints come often here, so that a kill finds one; each step naps, so that it comes before the end. The epoch is
a prime longer than any run here has steps, so that no checkpoint falls on its end.
"""

import sys
import time
from pathlib import Path

import torch
from toy_regression import Validation, make_network, make_splits

from omniform.task import Budget, Size
from omniform.training import loop
from omniform.training.config import Training
from omniform.training.fit import fit

ITEMS = 401  # step * 8 is a multiple of it only from step 401 on


def train(folder: Path, steps: int, *, resume: bool, nap: float) -> None:
    network, splits = make_network(dropout=0.3), make_splits(ITEMS)
    torch.manual_seed(5)
    model = network.build(Size(dim=8, hidden=16, depth=1))
    fit(
        network,
        model,
        splits,
        validate=Validation(splits.validation),
        lower_is_better=True,
        training=Training(batch_size=8, precision="32", device="cpu"),
        budget=Budget(steps=steps),
        seed=3,
        folder=folder,
        resume=resume,
        progress=False,
        on_progress=lambda progress: time.sleep(nap),
    )


if __name__ == "__main__":
    loop._CHECKPOINT_SECONDS = 0.2
    train(Path(sys.argv[1]), int(sys.argv[2]), resume=sys.argv[3] == "resume", nap=0.005)
