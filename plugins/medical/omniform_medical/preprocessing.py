"""Make of a volume what the plan says: canonical axes, no empty margins, the plan's spacing and intensities.

In the manner of nnU-Net (arXiv 1809.10486, 1904.08128).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from omniform.errors import DataError
from omniform_medical.case import Volume
from omniform_medical.geometry import Geometry
from omniform_medical.occupancy import Box, background, bounding_box, moments
from omniform_medical.plan import Intensity, Plan
from omniform_medical.prepared import Frame, Prepared
from omniform_medical.resampling import Taps, linear, nearest, resample, resample_label

__all__ = ["make_frame", "prepare"]

_MARGIN = 2  # voxels around the box, so that the edge of the body is seen as an edge
_SAME_SPACING = 0.01  # relative difference that is not worth an interpolation
_ANISOTROPY = 3.0  # nnU-Net's: an axis this much coarser than the finest is not interpolated along


def make_frame(geometry: Geometry, spacing: tuple[float | None, ...], box: Box | None = None) -> Frame:
    """Return the way from a file's grid to the prepared one.

    Args:
        geometry: of the file; its axes are permuted and flipped to the closest of RAS, an oblique grid stays oblique.
        spacing: millimetres between prepared voxels along canonical axes; `None` keeps an axis' voxels, as does a
            spacing that differs by no more than 1 %.
        box: what of the canonical grid is kept; all of it if absent.
    """
    from nibabel.orientations import io_orientation

    orientation = io_orientation(geometry.affine)  # (3, 2): of each file axis, the canonical axis and the sign
    x, y, z = (int(axis) for axis in np.argsort(orientation[:, 0]))
    axes = (x, y, z)
    right, front, up = (bool(orientation[axis, 1] < 0) for axis in axes)
    if box is None:
        box = ((0, geometry.shape[x]), (0, geometry.shape[y]), (0, geometry.shape[z]))
    columns, rows, planes = (
        _voxels(high - low, geometry.spacing[axis], wanted)
        for (low, high), axis, wanted in zip(box, axes, spacing, strict=True)
    )
    return Frame(geometry, axes, (right, front, up), box, (columns, rows, planes))


def prepare(volume: Volume, plan: Plan, name: str) -> Prepared:
    """Return the case as the network sees it, channel by channel.

    The box is cut around what is not background in some channel (see `occupancy.background`), with a margin of 2
    voxels, whether labels are known or not. Images are interpolated linearly, smoothed before where they shrink to half
    or less, and repeated along an axis of the file more than 3 times as coarse as its finest. `zscore` takes mean and
    deviation over what is not background in the box of the file's grid; `ct` takes the plan's. A plan of planes keeps
    every plane.

    Raises:
        DataError: the channels are not as many as the plan's, or an intensity is not a finite number.
    """
    if len(volume.image) != len(plan.normalization):
        raise DataError(
            f"expected {len(plan.normalization)} channels in {name}, as the plan has, got {len(volume.image)}; "
            "give the files of all channels"
        )
    if not all(np.isfinite((channel.min(), channel.max())).all() for channel in volume.image):
        raise DataError(f"expected intensities that are finite numbers in {name}, got NaN or infinity; replace them")
    whole = make_frame(volume.geometry, plan.spacing)
    image = whole.canonical(volume.image)
    label = None if volume.label is None else whole.canonical(volume.label)
    empty = [background(channel) for channel in image]
    x, y, z = bounding_box(image, empty, margin=_MARGIN)
    planar = plan.rank == 2
    box = (x, y, (0, image.shape[3]) if planar else z)
    frame = make_frame(volume.geometry, (*plan.spacing[:2], None if planar else plan.spacing[2]), box)
    kept = tuple(slice(low, high) for low, high in box)
    taps = _taps(frame)
    made = np.empty((len(image), *frame.shape), dtype=np.float32)
    for index, (target, channel) in enumerate(zip(made, image, strict=True)):
        target[:] = resample(channel[kept], taps)
        if plan.normalization[index] == "zscore":
            mean, std = moments(channel[kept], empty[index])
        else:
            mean, std = _clip(target, plan.intensities[index])
        target -= mean
        target /= std or 1.0  # a constant channel stays one, at zero
    return Prepared(
        name=name,
        image=made,
        label=None if label is None else resample_label(label[kept], taps),
        truth=volume.label,
        frame=frame,
        like=replace(volume.like, array=np.broadcast_to(np.float32(0), volume.geometry.shape)),
    )


def _voxels(count: int, spacing: float, wanted: float | None) -> int:
    if wanted is None or abs(spacing / wanted - 1) <= _SAME_SPACING:
        return count
    return max(1, round(count * spacing / wanted))


def _taps(frame: Frame) -> list[Taps | None]:
    sizes = [high - low for low, high in frame.box]
    coarse = _coarse_axis([frame.geometry.spacing[axis] for axis in frame.axes])
    return [
        None if before == after else nearest(before, after) if axis == coarse else linear(before, after)
        for axis, (before, after) in enumerate(zip(sizes, frame.shape, strict=True))
    ]


def _clip(channel: np.ndarray, intensity: Intensity) -> tuple[float, float]:
    np.clip(channel, intensity.low, intensity.high, out=channel)
    return intensity.mean, intensity.std


def _coarse_axis(spacing: list[float]) -> int | None:
    coarse = [axis for axis, each in enumerate(spacing) if each > _ANISOTROPY * min(spacing)]
    return coarse[0] if len(coarse) == 1 else None
