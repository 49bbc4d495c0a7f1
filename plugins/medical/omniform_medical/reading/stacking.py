"""From planes with places of their own to one volume, or to the reason why they are none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from omniform_medical.geometry import Geometry
from omniform_medical.reading.planes import Plane
from omniform_medical.reading.stored import refusal

__all__ = ["stack"]

_SAME = 1e-3  # how far unit vectors may differ, and relatively spacings
_UNEVEN = 0.05  # share of the spacing by which a gap between neighbours may differ from it ...
_ASTRAY = 0.1  # ... and by which a plane may lie off the straight line through the first and last
_TOUCHING = 1e-3  # mm at which two planes lie in one place


def stack(planes: Sequence[Plane], name: str) -> tuple[list[Plane], Geometry]:
    """Return the planes from low to high along their normal, and the volume's grid.

    Axis x counts columns, y rows and z planes. A gantry's tilt, where planes are shifted evenly against each other,
    stands in the affine as a shear.

    Raises:
        DataError: planes differ in size, direction or spacing, lie in one place, or one is missing.
    """
    first = planes[0]
    if len(planes) == 1 and first.position is None:
        return [first], _lone(first)
    for plane in planes:
        _compare(plane, first, name)
    assert first.orientation is not None
    assert first.spacing is not None
    normal = np.cross(*first.orientation)
    positions = np.stack([plane.position for plane in planes if plane.position is not None])
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    positions, heights = positions[order], heights[order]
    step = normal * first.thickness
    if len(planes) > 1:
        _check_gaps(heights, name)
        step = (positions[-1] - positions[0]) / (len(planes) - 1)
        _check_straight(positions, heights, step, name)
    spacing = (*first.spacing, float(np.linalg.norm(step)))
    direction = np.stack([*first.orientation, step / spacing[2]], axis=1)
    shape = (*first.size, len(planes))
    return [planes[i] for i in order], Geometry.from_lps(shape, positions[0].tolist(), spacing, direction)


def _lone(plane: Plane) -> Geometry:
    """Return where a radiograph lies, which says nothing of space but perhaps the size of its pixels."""
    spacing = (*(plane.spacing or (1.0, 1.0)), plane.thickness)
    return Geometry.from_lps((*plane.size, 1), (0, 0, 0), spacing, np.eye(3))


def _compare(plane: Plane, first: Plane, name: str) -> None:
    for tag, held in (
        ("ImagePositionPatient", plane.position),
        ("ImageOrientationPatient", plane.orientation),
        ("PixelSpacing", plane.spacing),
    ):
        if held is None:
            raise refusal(name, f"{plane.what} lacks {tag}, so that its place is not known; export the series anew")
    if plane.size != first.size:
        raise refusal(
            name,
            f"{plane.what} has {_times(plane.size)} pixels beside {_times(first.size)}; keep slices of one size",
        )
    if not np.allclose(plane.orientation, first.orientation, atol=_SAME):  # pyright: ignore[reportArgumentType]
        raise refusal(name, f"{plane.what} has another direction than the first; keep one stack, without localizers")
    if not np.allclose(plane.spacing, first.spacing, rtol=_SAME, atol=0):  # pyright: ignore[reportArgumentType]
        raise refusal(name, f"{plane.what} has another PixelSpacing than the first; keep slices of one spacing")


def _check_gaps(heights: np.ndarray, name: str) -> None:
    """Refuse neighbours at one height, and gaps that differ."""
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    if gaps.min() < _TOUCHING:
        place, times = float(heights[int(np.argmin(gaps))]), int((gaps < _TOUCHING).sum())
        raise refusal(
            name,
            f"has {times} slices in the place of another, the first at "
            f"{place:.2f} mm; keep one time point, echo or reconstruction",
        )
    worst = int(np.argmax(np.abs(gaps - usual)))
    gap, below, above = float(gaps[worst]), float(heights[worst]), float(heights[worst + 1])
    if abs(gap - usual) <= _UNEVEN * usual:
        return
    if gap > 1.5 * usual:
        raise refusal(
            name,
            f"slices are missing: {gap:.2f} mm instead of {usual:.2f} mm lie between {below:.2f} and {above:.2f} mm; "
            "export the whole series",
        )
    raise refusal(
        name,
        f"its slices are not evenly spaced: {gap:.2f} mm instead of {usual:.2f} mm lie between {below:.2f} and "
        f"{above:.2f} mm; resample it first",
    )


def _check_straight(positions: np.ndarray, heights: np.ndarray, step: np.ndarray, name: str) -> None:
    straight = positions[0] + np.arange(len(positions))[:, None] * step
    astray = np.linalg.norm(positions - straight, axis=1)
    worst = int(np.argmax(astray))
    if astray[worst] > _ASTRAY * np.linalg.norm(step):
        raise refusal(
            name,
            f"its slice at {heights[worst]:.2f} mm lies {astray[worst]:.2f} mm off the line of the others; "
            "resample it first",
        )


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
