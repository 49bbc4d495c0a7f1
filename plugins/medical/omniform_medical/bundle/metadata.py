"""What a bundle says of itself, in MONAI's terms and in words."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from omniform.configuration import split_names
from omniform.run import RunSpec
from omniform_medical.config import SegmentConfig
from omniform_medical.layouts.labels import parse_labels
from omniform_medical.plan import Plan

__all__ = ["bundle_metadata", "bundle_readme"]

_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_PACKAGES = ("nibabel", "SimpleITK", "pydicom", "safetensors")
_UNSAID = "not stated"


def bundle_metadata(
    spec: RunSpec, config: SegmentConfig, plan: Plan, metrics: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the content of `metadata.json`.

    Args:
        metrics: those of the run, the floor's beside them; `None` where none were written.
    """
    labels, values = parse_labels(config.labels)
    channels = split_names(config.channels)
    scores = {} if metrics is None else {"eval_metrics": _scores(metrics)}
    return {
        "schema": _SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "exported from a run of omniform"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {name: version(name) for name in ("omniform", *_PACKAGES)},
        "optional_packages_version": {},
        "name": f"Segmentation by {config.model} over {spec.mixer}",
        "task": f"Segmentation of {', '.join(labels[1:])}",
        "description": f"{config.model} over {spec.mixer}, {spec.params} parameters. {_prepared(plan, channels)}",
        "authors": _UNSAID,
        "copyright": _UNSAID,
        "data_type": "volumes in NIfTI, NRRD, MetaImage or DICOM",
        "intended_use": "research, not the treatment of patients",
        "label_values": dict(zip(labels, values, strict=True)),
        "spacing": list(plan.spacing),
        **scores,
        "network_data_format": {
            "inputs": {"image": _image(plan, channels)},
            "outputs": {"pred": _prediction(plan, labels)},
        },
    }


def bundle_readme(spec: RunSpec, config: SegmentConfig, plan: Plan, metrics: Mapping[str, Any] | None) -> str:
    """Return the text of `README.md`."""
    labels, values = parse_labels(config.labels)
    rows = "\n".join(f"| {k} | {name} | {value} |" for k, (name, value) in enumerate(zip(labels, values, strict=True)))
    told = "\n".join(f"- {name}: {value}" for name, value in _scores(metrics).items()) if metrics else "- none written"
    return f"""# Segmentation of {", ".join(labels[1:])}

{config.model} over {spec.mixer}, {spec.params} parameters.

{_prepared(plan, split_names(config.channels))}.

| output channel | class | value in files |
| --- | --- | --- |
{rows}

Test scores of the run, the floor (a simple baseline) beside each:

{told}

## Use

Weights are `models/model.safetensors`; nothing here is unpickled. The bundle needs `pip install "omniform[medical]"`.

    import torch
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config("configs/inference.json")
    parser["bundle_root"], parser["image"] = "folder of this bundle", "image.nii.gz"
    case = parser.get_parsed_content("dataset")[0]
    inferer, network = (parser.get_parsed_content(name) for name in ("inferer", "network"))
    with torch.no_grad():
        case["pred"] = inferer(case["image"][None], network)[0]
    label = parser.get_parsed_content("postprocessing")(case)["pred"]

`network_def` gives logits; `network` gives calibrated probabilities, which windows are averaged of. The folder `models`
is a run folder too: `omniform medical segment models image.nii.gz --out label.nii.gz`. That places windows a little
differently where they do not divide a volume evenly.
"""


def _image(plan: Plan, channels: tuple[str, ...]) -> dict[str, Any]:
    ct = set(plan.normalization) == {"ct"}
    return {
        "type": "image",
        "format": "hounsfield" if ct else "magnitude",
        "modality": "CT" if ct else "n/a",
        "num_channels": len(channels),
        "spatial_shape": list(plan.patch[: plan.rank]),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(index): name for index, name in enumerate(channels)},
    }


def _prediction(plan: Plan, labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "image",
        "format": "segmentation",
        "num_channels": len(labels),
        "spatial_shape": list(plan.patch[: plan.rank]),
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": True,
        "channel_def": {str(index): name for index, name in enumerate(labels)},
    }


def _prepared(plan: Plan, channels: tuple[str, ...]) -> str:
    """Say how volumes are prepared."""
    spacing = " x ".join(f"{side:g}" for side in plan.spacing)
    return (
        f"Axes run to the right, front and up (RAS), empty margins are cropped, voxels are {spacing} mm; intensities: "
        + "; ".join(_normalised(plan, index, name) for index, name in enumerate(channels))
    )


def _normalised(plan: Plan, index: int, name: str) -> str:
    if plan.normalization[index] == "zscore":
        return f"{name} less the mean of what is not background, over its standard deviation"
    told = plan.intensities[index]
    return f"{name} clipped to {told.low:g} .. {told.high:g}, less {told.mean:g}, over {told.std:g}"


def _scores(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return every metric with the floor's beside it."""
    return {name: f"{value} (floor {metrics['floor'].get(name)})" for name, value in metrics["metrics"].items()}
