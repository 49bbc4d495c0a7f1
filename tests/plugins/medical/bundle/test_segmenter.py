"""Others' bundles: the same segmentation as MONAI's own, and nothing run or guessed that is not known."""

import copy
import io
import json
import pickle
import zipfile

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import save

from omniform.errors import DataError
from omniform_medical.bundle import BundleSegmenter
from omniform_medical.output import write_segmentations

NETWORK = {
    "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8], "strides": [2],
    "num_res_units": 1, "norm": "batch",
}  # fmt: skip
CONFIG = {
    "image_key": "image",
    "device": "$torch.device('cuda:0')",
    "network_def": NETWORK,
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": ["image"], "pixdim": [1.0, 1.5, 2.0], "mode": ["bilinear"]},
            {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
            {"_target_": "EnsureTyped", "keys": "image"},
        ],
    },
    "inferer": {
        "_target_": "SlidingWindowInferer", "roi_size": [16, 16, 8], "sw_batch_size": 2, "overlap": 0.5,
        "mode": "gaussian",
    },
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {
                "_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
                "nearest_interp": False,
            },
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        ],
    },
}  # fmt: skip
METADATA = {
    "network_data_format": {
        "inputs": {"image": {"num_channels": 1}},
        "outputs": {"pred": {"channel_def": {"0": "background", "1": "liver", "2": "tumour"}}},
    }
}


def unet():
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    return UNet(**{name: value for name, value in NETWORK.items() if name != "_target_"}).eval()


@pytest.fixture(scope="module")
def weights():
    return save(unet().state_dict())


@pytest.fixture
def write(tmp_path, weights):
    """Return `write(config, files)`, which writes a bundle with its configuration changed and files put in."""

    def make(config=None, metadata=None, name="bundle", **files):
        given = {"configs/inference.json": json.dumps(config or CONFIG).encode()}
        given["configs/metadata.json"] = json.dumps(metadata or METADATA).encode()
        given |= files or {"models/model.safetensors": weights}
        for place, content in given.items():
            path = tmp_path / name / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / name

    return make


@pytest.fixture
def scan(tmp_path, oblique):
    array = np.random.default_rng(0).normal(100, 30, (21, 18, 9)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(array, oblique), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def changed(place, value):
    """Return the configuration with a value put at `a::b::0`, or taken away where it is `None`."""
    config = copy.deepcopy(CONFIG)
    *parents, last = [int(key) if key.isdigit() else key for key in place.split("::")]
    node = config
    for key in parents:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return config


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning:monai", "ignore::DeprecationWarning:monai")
def test_it_segments_as_monai_does(write, scan):
    from monai.bundle import ConfigParser

    folder = write()
    told = BundleSegmenter.load(folder).predict(scan)
    parser = ConfigParser()
    parser.read_config(folder / "configs" / "inference.json")
    preprocess, infer, after = map(parser.get_parsed_content, ("preprocessing", "inferer", "postprocessing"))
    data = preprocess({"image": str(scan)})
    with torch.no_grad():
        pred = infer(data["image"][None], unet())[0]
    expected = after({"image": data["image"], "pred": pred})["pred"][0].numpy()
    assert told.label.shape == expected.shape == (21, 18, 9)
    assert len(np.unique(expected)) > 1
    assert np.mean(told.label == expected) > 0.9999  # LoadImaged keeps the affine in another precision
    assert told.name == "scan"
    assert np.array_equal(told.like.geometry.affine, nibabel.load(scan).affine)
    assert told.confidence.min() >= 255 // 3


def test_a_zip_is_a_bundle_too_within_a_folder(write, scan, tmp_path):
    folder = write()
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, f"spleen/{file.relative_to(folder)}")
    ours, theirs = (BundleSegmenter.load(path).segment([scan]) for path in (folder, tmp_path / "bundle.zip"))
    assert np.array_equal(ours.cases[0].label, theirs.cases[0].label)
    assert ours.labels == theirs.labels == ("background", "liver", "tumour")
    write_segmentations(ours, tmp_path / "label.nii.gz")
    assert np.array_equal(nibabel.load(tmp_path / "label.nii.gz").dataobj, ours.cases[0].label)


def test_tensors_of_a_pt_file_are_read(write, scan):
    buffer = io.BytesIO()
    torch.save({"model": unet().state_dict()}, buffer)
    segmenters = [
        BundleSegmenter.load(write()),
        BundleSegmenter.load(write(name="pickled", **{"models/model.pt": buffer.getvalue()})),
    ]
    assert np.array_equal(*(each.predict(scan).label for each in segmenters))


class _Malice:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_with_code_is_refused_unrun(write, tmp_path):
    torn = tmp_path / "torn"
    saved = io.BytesIO()
    torch.save({"model": _Malice(torn)}, saved)
    for number, content in enumerate((saved.getvalue(), pickle.dumps(_Malice(torn)))):
        with pytest.raises(DataError, match="may run code; it was not loaded") as told:
            BundleSegmenter.load(write(name=f"bundle-{number}", **{"models/model.pt": content}))
        assert "\n" not in str(told.value)
    assert not torn.exists()


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("network_def", "$__import__('os').system('x')", "network_def: expected an object"),
        ("network_def::_target_", "os.system", "network_def: os.system is not understood"),
        ("network_def::_target_", "evil.UNet", "network_def: evil.UNet is not understood"),
        ("network_def::_target_", "$UNet", "network_def: expected a class by its name"),
        ("network_def::channels", "$[4, 8]", "network_def::channels: .* is an expression"),
        ("network_def::norm", ["batch", {"eps": "$1e-5"}], "network_def::norm::1::eps: .* is an expression"),
        ("network_def::norm", "%train::norm", "network_def::norm: .* is an expression"),
        ("network_def::channels", "@device", "device: .* is an expression"),
        ("network_def::channels", "@nowhere", "refers to nothing"),
        ("network_def::_mode_", "callable", "network_def::_mode_"),
        ("network_def::spatial_dims", 2, "network_def::spatial_dims: expected 3"),
        ("network_def::channels", [8], "network_def: UNet cannot be built of these arguments"),
        ("network_def::out_channels", 4, "are not those of its network_def"),
        ("preprocessing", None, "expected a list of transforms as preprocessing"),
        ("preprocessing::_target_", "monai.transforms.OneOf", "expected a Compose"),
        ("preprocessing::transforms", "$[1]", "preprocessing::transforms: expected a list"),
        (
            "preprocessing::transforms::4", {"_target_": "CropForegroundd", "keys": "image"},
            "preprocessing::transforms::4: CropForegroundd is not understood",
        ),
        (
            "preprocessing::transforms::4", {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x"},
            "Lambdad is not understood",
        ),
        ("preprocessing::transforms::2::axcodes", "LPS", "expected RAS, got 'LPS'"),
        ("preprocessing::transforms::3::pixdim", [1.0, -1.0, 2.0], "pixdim: expected three lengths"),
        ("preprocessing::transforms::3::max_pixdim", 3.0, "Spacingd with 'max_pixdim' is not understood"),
        ("preprocessing::transforms::4::nonzero", "$True", "transforms::4::nonzero: .* is an expression"),
        ("inferer::_target_", "SimpleInferer", "inferer: SimpleInferer is not understood"),
        ("inferer", None, "inferer: expected an object"),
        ("inferer::roi_size", [16, 16], "inferer::roi_size: expected three"),
        (
            "postprocessing::transforms::0", {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
            "softmax alone",
        ),
        ("postprocessing::transforms::0::_target_", "KeepLargestConnectedComponentd", "is not understood"),
    ],
)  # fmt: skip
def test_what_is_not_known_for_certain_is_named_and_refused(write, place, value, said):
    with pytest.raises(DataError, match=said) as told:
        BundleSegmenter.load(write(changed(place, value)))
    assert "\n" not in str(told.value)


def test_broken_bundles_are_refused_in_a_line(write, weights, tmp_path, bundle):
    half = {"models/model.safetensors": weights[:-100]}
    cases = {
        "expected a MONAI bundle": tmp_path,
        "expected safetensors": write(name="half", **half),
        "neither": write(name="none", **{"models/model.ts": b""}),
        "channel_def": write(name="nameless", metadata={"network_data_format": {"inputs": {}, "outputs": {}}}),
        "truncated or no file of torch": write(name="pt", **{"models/model.pt": b"PK\x03\x04"}),
        "load the folder `models`": bundle,
    }
    for said, path in cases.items():
        with pytest.raises(DataError, match=said) as told:
            BundleSegmenter.load(path)
        assert "\n" not in str(told.value)


def test_an_archive_whose_files_lead_out_is_refused(tmp_path):
    path = tmp_path / "bundle.zip"
    for name in ("../configs/metadata.json", "/configs/metadata.json", "a\\..\\..\\configs/metadata.json"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, json.dumps(METADATA))
        with pytest.raises(DataError, match="leads out"):
            BundleSegmenter.load(path)
    assert list(tmp_path.iterdir()) == [path]


def test_channels_must_be_as_many_and_finite(write, scan, tmp_path):
    segmenter = BundleSegmenter.load(write())
    with pytest.raises(DataError, match="expected 1 files, a channel each, got 2"):
        segmenter.predict([scan, scan])
    array = np.ones((8, 8, 8), np.float32)
    array[1, 2, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "nan.nii.gz")
    with pytest.raises(DataError, match="finite"):
        segmenter.predict(tmp_path / "nan.nii.gz")
