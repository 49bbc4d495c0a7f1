"""A run as a MONAI bundle: the standard layout, with a run folder in it.

configs/metadata.json      what goes in and comes out, in MONAI's terms
configs/inference.json     network, preparation, windows and way back, for `monai.bundle.ConfigParser`
models/                    a run folder: model.safetensors, and the options that build the network
docs/README.md             what it is and how it is used
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from omniform.configuration import split_names
from omniform.errors import RunError
from omniform.run import Run, Source
from omniform.serial import to_json
from omniform.task import Splits
from omniform_medical.bundle.metadata import bundle_metadata, bundle_readme
from omniform_medical.cohort import Cohort
from omniform_medical.config import SegmentConfig
from omniform_medical.layouts.labels import parse_labels
from omniform_medical.output.files import replaced_folder
from omniform_medical.plan import Plan
from omniform_medical.task import Segment

__all__ = ["export_bundle"]

_PARTS = "omniform_medical.bundle"


def export_bundle(run: str | Path, out: str | Path) -> Path:
    """Write a run of the task `segment` as a MONAI bundle into the new folder `out`: all of it, or nothing.

    Where the data lay and which cases were held out by name is left behind. Weights are safetensors; MONAI's own
    loaders, which unpickle, are not needed, as `network_def` brings them along.

    Raises:
        RunError: the run folder is missing, damaged or of another task; or something is at `out`.
    """
    out = Path(out)
    opened = Run.open(Path(run))
    told = opened.spec
    if (told.domain, told.task) != ("medical", Segment.name):
        raise RunError(f"expected a run of medical {Segment.name} in {run}, got {told.domain} {told.task}")
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise RunError(f"expected --out to be new or empty, got {out}; choose another")
    task = Segment()
    config = opened.task_config(task)
    empty = Cohort("", (), split_names(config.channels), *parse_labels(config.labels))
    model = opened.load_model(opened.network(task, Splits(empty, empty, empty), config))
    plan = Plan.of(config)
    spec = replace(told, init=None, config=to_json(_without_paths(config)))
    metrics = opened.metrics if (opened.path / "metrics.json").exists() else None
    with replaced_folder(out) as folder:
        source = Source(source="left out of the bundle", fingerprint=opened.data.fingerprint)
        Run.create(folder / "models", spec, source).save_model(model)
        _write(folder / "configs" / "metadata.json", bundle_metadata(spec, config, plan, metrics))
        _write(folder / "configs" / "inference.json", _inference(config, plan))
        readme = folder / "docs" / "README.md"
        readme.parent.mkdir()
        readme.write_text(bundle_readme(spec, config, plan, metrics), encoding="utf-8")
    return out


def _without_paths(config: SegmentConfig) -> SegmentConfig:
    """Return the options without what tells of files and cases."""
    fresh = SegmentConfig()
    return replace(config, plan=None, encoder=None, test=fresh.test, group=fresh.group)


def _inference(config: SegmentConfig, plan: Plan) -> dict[str, Any]:
    """Return the configuration; nothing in it is an expression that a reader would have to evaluate."""
    windows: dict[str, Any] = {
        "sw_batch_size": plan.batch,
        "overlap": config.overlap,
        "mode": "gaussian",
        "sw_device": "@device",
        "device": "cpu",
    }
    if plan.rank == 2:
        inferer = {"_target_": "SliceInferer", "spatial_dim": 2, "roi_size": list(plan.patch[:2]), **windows}
    else:
        inferer = {"_target_": "SlidingWindowInferer", "roi_size": list(plan.patch), **windows}
    return {
        "bundle_root": ".",
        "dataset_dir": ".",
        "image": "image.nii.gz",
        "device": "cpu",
        "network_def": {"_target_": f"{_PARTS}.load_network", "bundle_root": "@bundle_root", "device": "@device"},
        "network": {"_target_": f"{_PARTS}.Probabilities", "network": "@network_def", "mirror": config.mirror},
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": f"{_PARTS}.Prepare", "bundle_root": "@bundle_root"}],
        },
        "dataset": {"_target_": "Dataset", "data": [{"image": "@image"}], "transform": "@preprocessing"},
        "inferer": inferer,
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": f"{_PARTS}.Restore", "bundle_root": "@bundle_root"}],
        },
    }


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
