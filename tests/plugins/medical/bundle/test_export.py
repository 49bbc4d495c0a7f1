"""A run as a MONAI bundle: MONAI reads it, runs it, and says what the run says."""

import json
from contextlib import nullcontext

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from omniform.errors import RunError
from omniform_medical.api import Segmenter
from omniform_medical.bundle import export_bundle, load_network
from omniform_medical.output.segmentations import file_values
from omniform_medical.sample import load_sample


@pytest.fixture
def in_float32(monkeypatch):
    """Predict as bundles do, whose labels would else differ where two classes are level within bfloat16."""
    monkeypatch.setattr("omniform_medical.network._fast_format", nullcontext)


def test_the_layout_is_the_standard_one_and_weights_are_safetensors(bundle, bundled_run):
    files = sorted(str(file.relative_to(bundle)) for file in bundle.rglob("*") if file.is_file())
    assert files == [
        "configs/inference.json", "configs/metadata.json", "docs/README.md", "models/config.json",
        "models/data.json", "models/model.safetensors", "models/versions.json",
    ]  # fmt: skip
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (bundle / "models", bundled_run))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


def test_metadata_has_what_monai_requires(bundle):
    from monai.bundle.properties import MetaProperties
    from monai.bundle.utils import DEFAULT_METADATA
    from monai.utils import BundleProperty, BundlePropertyConfig

    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert not set(DEFAULT_METADATA) - set(metadata)
    for place in MetaProperties.values():
        value = {"_meta_": metadata}
        for name in place[BundlePropertyConfig.ID].split("::"):
            assert name in value, place[BundleProperty.DESC]
            value = value[name]
    assert metadata["schema"].startswith("https://github.com/Project-MONAI/")
    inputs, outputs = (metadata["network_data_format"][name] for name in ("inputs", "outputs"))
    assert inputs["image"]["spatial_shape"] == outputs["pred"]["spatial_shape"] == [16, 16, 16]
    assert inputs["image"]["channel_def"] == {"0": "T1"}
    assert outputs["pred"]["channel_def"] == {"0": "background", "1": "grey matter", "2": "white matter"}
    assert outputs["pred"]["num_channels"] == 3
    assert "4 x 4 x 4 mm" in metadata["description"]


def test_the_network_maps_patches_to_logits(bundle):
    network = load_network(bundle)
    patches = torch.randn(2, 1, 16, 16, 16)
    with torch.no_grad():
        assert network(patches).shape == (2, 3, 16, 16, 16)
    assert not network.training


def test_monai_runs_it_to_the_same_labels(bundle, bundled_run, in_float32):
    """Everything by ConfigParser, the README's way; windows of 16, 8 and 40 lie alike, so labels are the same."""
    from monai.bundle import ConfigParser
    from monai.inferers import SlidingWindowInferer

    path = load_sample().cases[3].images[0]
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    parser["bundle_root"], parser["image"] = str(bundle), str(path)
    case = parser.get_parsed_content("dataset")[0]
    inferer, network = parser.get_parsed_content("inferer"), parser.get_parsed_content("network")
    assert isinstance(inferer, SlidingWindowInferer)
    with torch.no_grad():
        case["pred"] = inferer(case["image"][None], network)[0]
    told = parser.get_parsed_content("postprocessing")(case)["pred"]
    ours = Segmenter.load(bundled_run).predict(path)
    label = file_values(ours.label, (0, 1, 2))
    assert len(np.unique(label)) > 1
    assert np.array_equal(told[0].numpy(), label)
    assert np.array_equal(told.affine.numpy(), nibabel.load(path).affine)


def test_the_models_folder_is_a_run(bundle, bundled_run):
    path = load_sample().cases[3].images[0]
    ours, theirs = (Segmenter.load(folder).predict(path) for folder in (bundle / "models", bundled_run))
    assert np.array_equal(ours.label, theirs.label)
    assert np.array_equal(ours.confidence, theirs.confidence)


def test_paths_and_held_out_names_stay_behind(bundled_run, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for file in bundled_run.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["config"] |= {"test": "Zaphod-1", "plan": "/home/zaphod/plan.json", "group": "Zaphod"}
    config["init"] = "/home/zaphod/earlier"
    (folder / "config.json").write_text(json.dumps(config))
    data = json.loads((folder / "data.json").read_text())
    (folder / "data.json").write_text(json.dumps(data | {"source": "/home/zaphod/scans"}))
    out = export_bundle(folder, tmp_path / "bundle")
    for file in out.rglob("*.*"):
        assert b"zaphod" not in file.read_bytes().lower(), file


def test_nothing_is_written_over_or_half(bundle, bundled_run, tmp_path, monkeypatch):
    with pytest.raises(RunError, match="new or empty"):
        export_bundle(bundled_run, bundle)

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("omniform_medical.bundle.export.bundle_readme", fail)
    with pytest.raises(OSError, match="no space"):
        export_bundle(bundled_run, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_is_no_run_of_this_task_is_refused(bundled_run, tmp_path):
    with pytest.raises(RunError, match="expected a run folder"):
        export_bundle(tmp_path, tmp_path / "out")
    other = tmp_path / "other"
    other.mkdir()
    for file in bundled_run.iterdir():
        if file.suffix == ".json":
            (other / file.name).write_text(file.read_text().replace('"task": "segment"', '"task": "classify"'))
    with pytest.raises(RunError, match="expected a run of medical segment"):
        export_bundle(other, tmp_path / "out")
    assert not (tmp_path / "out").exists()
