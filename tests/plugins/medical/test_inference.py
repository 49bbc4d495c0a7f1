from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from omniform.errors import ConfigError, DataError
from omniform_medical.blending import importance
from omniform_medical.case import Volume
from omniform_medical.geometry import Geometry
from omniform_medical.image import Image
from omniform_medical.inference import segment, window_starts
from omniform_medical.plan import Intensity, Plan
from omniform_medical.prepared import Frame, Prepared
from omniform_medical.preprocessing import make_frame, prepare

Decode = Callable[[Tensor], Tensor]
CLASSES = 4
TURNED = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # axes run back, up, right


def make_plan(patch: tuple[int, int, int]) -> Plan:
    return Plan(
        spacing=(1, 1, 1),
        patch=patch,
        strides=(),
        normalization=("zscore",) * 2,
        intensities=(Intensity(low=0, high=1, mean=0, std=1),) * 2,
        batch=2,
    )


def make_case(frame: Frame, seed: int = 0) -> Prepared:
    image = np.random.default_rng(seed).normal(size=(2, *frame.shape)).astype(np.float32)
    like = Image(np.zeros(frame.geometry.shape), frame.geometry, Path("case.nii.gz"))
    return Prepared("a", image, None, None, frame, like)


def whole(shape: tuple[int, int, int]) -> Frame:
    return make_frame(Geometry(shape, np.eye(4)), (None, None, None))


def network(rank: int) -> Decode:
    """Return a network that sees where in its window a voxel lies, so that blending matters; borders are padded."""
    torch.manual_seed(0)
    convolution = (torch.nn.Conv3d if rank == 3 else torch.nn.Conv2d)(2, CLASSES, 3, padding=1).requires_grad_(False)

    def decode(windows: Tensor) -> Tensor:
        logits = 3 * convolution(windows)
        for dim in range(2, windows.ndim):
            place = torch.linspace(-1, 1, windows.shape[dim]).view(-1, *(1,) * (windows.ndim - 1 - dim))
            logits[:, dim % CLASSES] += place
        return logits.softmax(dim=1)

    return decode


def naive(decode: Decode, prepared: Prepared, plan: Plan, overlap: float, flips: list[tuple[int, ...]]) -> np.ndarray:
    """Return probabilities `(K, X, Y, Z)` on the canonical grid of the file's box: all at once, in float64."""
    shape, patch = prepared.frame.shape, plan.patch
    sides = [max(n, p) for n, p in zip(shape, patch, strict=True)]
    before = [(side - n) // 2 for side, n in zip(sides, shape, strict=True)]
    padded = np.zeros((len(prepared.image), *sides), dtype=np.float32)
    inside = tuple(slice(b, b + n) for b, n in zip(before, shape, strict=True))
    padded[:, *inside] = prepared.image
    centres = [(np.arange(p) - (p - 1) / 2) / (p / 8) for p in patch]
    weight = np.exp(-0.5 * sum(np.square(c) for c in np.ix_(*centres))).clip(1e-3)
    total, weights = np.zeros((CLASSES, *sides)), np.zeros(sides)
    steps = []
    for side, p in zip(sides, patch, strict=True):
        gaps = int(np.ceil((side - p) / max(1, p * (1 - overlap))))
        steps.append([round(i * (side - p) / gaps) for i in range(gaps + 1)] if gaps else [0])
    for start in product(*steps):
        where = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
        window = torch.from_numpy(padded[:, *where][None])
        window = window[..., 0] if plan.rank == 2 else window
        made = torch.stack([decode(window.flip(dims)).flip(dims) for dims in flips]).double().mean(dim=0)[0].numpy()
        total[:, *where] += weight * (made[..., None] if plan.rank == 2 else made)
        weights[where] += weight
    mean = (total / weights)[:, *inside]
    for axis, (n, (low, high)) in enumerate(zip(shape, prepared.frame.box, strict=True), start=1):
        b = high - low
        place = ((np.arange(b) + 0.5) * n / b - 0.5).clip(0, n - 1)
        below = np.floor(place).astype(int)
        share = (place - below).reshape(-1, *(1,) * (3 - axis))
        mean = mean.take(below, axis) * (1 - share) + mean.take(np.minimum(below + 1, n - 1), axis) * share
    return mean


def check(
    frame: Frame, patch: tuple[int, int, int], overlap: float = 0.5, mirror: str = "", batch: int = 3, seed: int = 0
) -> None:
    plan = make_plan(patch)
    prepared, decode = make_case(frame, seed), network(plan.rank)
    dims = [2 + "xyz".index(each) for each in mirror]
    flips = [tuple(d for d, on in zip(dims, each, strict=True) if on) for each in product((0, 1), repeat=len(dims))]
    expected = naive(decode, prepared, plan, overlap, flips)
    found = segment(decode, prepared, plan, classes=CLASSES, overlap=overlap, mirror=mirror, batch=batch)
    box = tuple(slice(low, high) for low, high in frame.box)
    label, confidence = (frame.canonical(each) for each in (found.label, found.confidence))
    assert label.dtype == confidence.dtype == np.uint8
    assert found.label.shape == frame.geometry.shape
    first, second = np.sort(expected, axis=0)[:-3:-1]
    clear = first - second > 1e-4
    assert clear.mean() > 0.98
    np.testing.assert_array_equal(label[box][clear], expected.argmax(axis=0)[clear])
    assert np.abs(confidence[box] - 255 * first).max() < 0.5 + 0.02
    outside = np.ones(label.shape, dtype=bool)
    outside[box] = False
    assert not label[outside].any()
    assert (confidence[outside] == 255).all()


@pytest.mark.parametrize("shape", [(40, 13, 11), (13, 41, 11), (11, 13, 39), (9, 9, 9), (17, 16, 17)])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.8])
def test_any_slab_axis_equals_all_at_once(shape: tuple[int, int, int], overlap: float) -> None:
    check(whole(shape), (9, 7, 8), overlap)


@pytest.mark.parametrize("shape", [(5, 6, 3), (5, 20, 3), (1, 30, 11), (12, 9, 11), (2, 2, 2)])
def test_a_patch_larger_than_the_volume(shape: tuple[int, int, int]) -> None:
    check(whole(shape), (12, 9, 11))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 3.1), (0.4, 0.7, 1.9), (2.3, 1.7, 0.45), (0.3, 0.3, 0.3), (1, 0.6, 1)])
@pytest.mark.parametrize("shape", [(19, 23, 12), (33, 11, 17)])
def test_spacing_goes_back_to_the_files_grid(spacing: tuple[float, ...], shape: tuple[int, int, int]) -> None:
    geometry = Geometry(shape, np.diag([*spacing, 1.0]))
    check(make_frame(geometry, (1, 1, 1), ((2, shape[0] - 1), (0, shape[1] - 3), (1, shape[2]))), (6, 7, 5))


@pytest.mark.parametrize("affine", [TURNED, TURNED @ np.diag([1, -0.5, 1.9, 1]), np.diag([-1, -1, 2.2, 1.0])])
def test_turned_files_get_their_own_axes_back(affine: np.ndarray) -> None:
    geometry = Geometry((21, 12, 17), affine)
    kept = make_frame(geometry, (None, None, None))
    box = tuple((1, size - 2) for size in kept.shape)
    check(make_frame(geometry, (1, 1, 1), (box[0], box[1], box[2])), (8, 6, 7))


@pytest.mark.parametrize("shape", [(20, 17, 5), (6, 30, 1), (17, 9, 40)])
def test_planes(shape: tuple[int, int, int]) -> None:
    geometry = Geometry(shape, np.diag([1.4, 0.6, 5, 1.0]))
    check(make_frame(geometry, (1, 1, None)), (8, 9, 1), mirror="y")


@pytest.mark.parametrize("mirror", ["x", "zy", "xyz"])
@pytest.mark.parametrize("batch", [1, 5, 100])
def test_mirroring_is_the_mean_over_flips(mirror: str, batch: int) -> None:
    check(whole((13, 9, 18)), (8, 9, 7), mirror=mirror, batch=batch)


@pytest.mark.parametrize(
    ("shape", "patch"), [((24, 16, 20), (8, 8, 8)), ((8, 20, 12), (8, 8, 4)), ((6, 16, 5), (9, 8, 6))]
)
def test_equals_monai_where_starts_coincide(shape: tuple[int, int, int], patch: tuple[int, int, int]) -> None:
    from monai.inferers.utils import sliding_window_inference

    plan, prepared, decode = make_plan(patch), make_case(whole(shape)), network(3)
    image = torch.from_numpy(prepared.image)[None]
    expected = sliding_window_inference(image, patch, 2, decode, overlap=0.5, mode="gaussian")
    assert isinstance(expected, Tensor)
    found = segment(decode, prepared, plan, classes=CLASSES, overlap=0.5)
    first, second = expected[0].sort(dim=0, descending=True).values[:2]
    clear = (first - second > 1e-5).numpy()
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(found.label[clear], expected[0].argmax(dim=0).numpy()[clear])
    assert np.abs(found.confidence - 255 * first.numpy()).max() < 0.5 + 1e-3


@pytest.mark.parametrize("patch", [(5, 5, 5), (16, 8, 3), (1, 1, 2), (4, 7, 1)])
def test_importance_is_monais(patch: tuple[int, int, int]) -> None:
    from monai.data.utils import compute_importance_map

    torch.testing.assert_close(importance(patch), compute_importance_map(patch, mode="gaussian").clamp(min=1e-3))


@pytest.mark.parametrize("affine", [np.eye(4), TURNED])
@pytest.mark.parametrize("patch", [(6, 5, 7), (7, 6, 1), (40, 40, 40)])
def test_the_truth_comes_back_exactly(affine: np.ndarray, patch: tuple[int, int, int]) -> None:
    truth = np.random.default_rng(0).integers(0, CLASSES, (17, 13, 21)).astype(np.uint8)
    frame = make_frame(Geometry((17, 13, 21), affine), (1, 1, 1))
    image = frame.canonical(truth)[None].astype(np.float32)
    prepared = replace(make_case(frame), image=image)

    def decode(windows: Tensor) -> Tensor:
        return torch.stack([windows[:, 0] == value for value in range(CLASSES)], dim=1).float()

    found = segment(decode, prepared, make_plan(patch), classes=CLASSES, overlap=0.6, mirror="xy", batch=4)
    np.testing.assert_array_equal(found.label, truth)
    assert (found.confidence == 255).all()


def test_a_prepared_label_finds_its_way_back_to_a_turned_anisotropic_file() -> None:
    affine = TURNED @ np.diag([0.8, 2.1, 1.4, 1])
    grid = np.stack(np.meshgrid(np.arange(40), np.arange(20), np.arange(30), indexing="ij")).astype(float)
    label = (np.linalg.norm((grid.T - (24, 9, 13)) * (0.8, 2.1, 1.4), axis=-1) < 11).T.astype(np.uint8)
    label[..., 15:] *= 2
    image = np.where(label, 100, 0).astype(np.float32)
    volume = Volume(image[None], label, Image(image, Geometry(label.shape, affine), Path("case.nii.gz")))
    prepared = prepare(volume, replace(make_plan((16, 16, 16)), normalization=("zscore",)), "a")
    assert prepared.frame.geometry.shape != tuple(high - low for low, high in prepared.frame.box)
    assert prepared.label is not None
    seen = replace(prepared, image=prepared.label[None].astype(np.float32))

    def decode(windows: Tensor) -> Tensor:
        return torch.stack([windows[:, 0] == value for value in range(3)], dim=1).float()

    found = segment(decode, seen, make_plan((16, 16, 16)), classes=3, overlap=0.5)
    for value in (1, 2):
        both = ((found.label == value) & (label == value)).sum()
        assert 2 * both / ((found.label == value).sum() + (label == value).sum()) > 0.95
    assert found.like.geometry is volume.geometry


def test_a_half_precision_map_is_read_as_float32() -> None:
    prepared = make_case(whole((9, 8, 7)))
    seen = []

    def decode(windows: Tensor) -> Tensor:
        seen.append(windows.dtype)
        return network(3)(windows).bfloat16()

    half = replace(prepared, image=prepared.image.astype(np.float16))
    found = segment(decode, half, make_plan((5, 5, 5)), classes=CLASSES, overlap=0.5)
    assert set(seen) == {torch.float32}
    plain = segment(network(3), prepared, make_plan((5, 5, 5)), classes=CLASSES, overlap=0.5)
    assert np.abs(found.confidence.astype(int) - plain.confidence).max() <= 3


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 15, 16, 31, 64, 100])
@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.5, 0.75, 0.9])
def test_windows_cover_the_axis_and_overlap_enough(size: int, overlap: float) -> None:
    patch = 8
    starts = np.array(window_starts(size, patch, overlap))
    if size <= patch:
        assert starts.tolist() == [-((patch - size) // 2)]
        return
    assert starts[0] == 0
    assert starts[-1] == size - patch
    steps = np.diff(starts)
    assert steps.min() >= 1
    assert steps.max() <= max(1, np.ceil(patch * (1 - overlap)))
    assert np.ptp(steps) <= 1


def test_starts_do_not_stumble_over_rounding() -> None:
    assert window_starts(24, 20, 0.9) == [0, 2, 4]


def test_mistakes_are_said() -> None:
    prepared = make_case(whole((4, 4, 4)))
    with pytest.raises(ConfigError, match="expected mirror of the axes x, y that the network sees, got 'z' too"):
        segment(network(2), prepared, make_plan((4, 4, 1)), classes=CLASSES, overlap=0.5, mirror="xz")
    with pytest.raises(DataError, match="not finite numbers in a"):
        segment(lambda x: network(3)(x) * np.nan, prepared, make_plan((4, 4, 4)), classes=CLASSES, overlap=0.5)


GROWTH = """
import sys
import numpy as np, torch
from omniform_medical.geometry import Geometry
from omniform_medical.image import Image
from omniform_medical.inference import segment
from omniform_medical.plan import Plan
from omniform_medical.prepared import Prepared
from omniform_medical.preprocessing import make_frame

classes, shape = int(sys.argv[1]), (256, 256, 300)
plan = Plan(spacing=(1, 1, 1), patch=(128, 128, 32), strides=(), normalization=("ct",), intensities=(), batch=1)
geometry = Geometry(shape, np.eye(4))
image = np.random.default_rng(0).random((1, *shape), dtype=np.float32)
like = Image(image[0], geometry, None)
case = Prepared("a", image, None, None, make_frame(geometry, plan.spacing), like)
torch.set_num_threads(1)
probabilities = torch.rand(1, classes, *plan.patch)
segment(lambda windows: probabilities, case, plan, classes=classes, overlap=0.0)
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell a process' own peak")
def test_memory_grows_with_the_open_rows_not_with_the_volume() -> None:
    few, many = 16, 32
    peaks = [
        1024 * int(subprocess.run([sys.executable, "-c", GROWTH, str(k)], capture_output=True, check=True).stdout)
        for k in (few, many)
    ]
    open_rows, window, volume = (4 * (many - few) * size for size in (256 * 256 * 33, 128 * 128 * 32, 256 * 256 * 300))
    assert peaks[1] - peaks[0] < 1.1 * (open_rows + window)
    assert peaks[1] - peaks[0] < volume / 4
