"""Pictures of labels over the image that they belong to, in the radiological convention: right is on the left.

X, Y, Z = voxels along canonical axes, to the right, to the front, up
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from omniform.plots import INK, PALETTE, canvas, png
from omniform_medical.image import Image
from omniform_medical.output.files import replaced
from omniform_medical.preprocessing import make_frame
from omniform_medical.reading import read_image
from omniform_medical.segmentation import Segmentation

__all__ = [
    "View", "draw_contours", "draw_image", "extent", "label_colours", "overlay", "panels", "verbatim", "views",
    "window_of", "write_overlay",
]  # fmt: skip

OPACITY = 0.45
_WIDTH, _HEIGHT = 9.0, 4.2  # inches of all panels together, at most
_WINDOW = (0.5, 99.5)  # percentiles that become black and white


def label_colours(count: int) -> tuple[str, ...]:
    """Return a colour for each foreground label: those of Okabe & Ito, then lighter ones, then again from the start."""
    light = tuple(_lighter(colour) for colour in PALETTE)
    every = PALETTE + light
    return tuple(every[place % len(every)] for place in range(count))


@dataclass(frozen=True, slots=True)
class View:
    """A plane of voxels as it is looked at.

    Attributes:
        name: `axial`, `coronal` or `sagittal`.
        normal: the canonical axis across it.
        index: its place along that.
        across: the canonical axis that runs from right to left of the picture.
        up: the canonical axis that runs upwards.
        letters: of the left, right, lower and upper edge.
    """

    name: str
    normal: int
    index: int
    across: int
    up: int
    letters: tuple[str, str, str, str]

    def of(self, volume: np.ndarray) -> np.ndarray:
        """Return the plane of `(X, Y, Z)` with rows upwards and columns to the right of the picture."""
        plane = volume.take(self.index, axis=self.normal)
        return (plane.T if self.across < self.up else plane)[:, ::-1]


_PLANES = (
    ("axial", 2, 0, 1, ("R", "L", "P", "A")),
    ("coronal", 1, 0, 2, ("R", "L", "I", "S")),
    ("sagittal", 0, 1, 2, ("A", "P", "I", "S")),
)


def views(mask: np.ndarray) -> list[View]:
    """Return the three planes with most of the mask `(X, Y, Z)`, through the middle where it is empty; of a flat
    volume its one plane."""
    flat = [axis for axis, size in enumerate(mask.shape) if size == 1]
    found = []
    for name, normal, across, up, letters in _PLANES:
        if flat and normal not in flat:
            continue
        areas = mask.sum(axis=(across, up))
        index = int(np.argmax(areas)) if areas.any() else mask.shape[normal] // 2
        found.append(View(name, normal, index, across, up, letters))
    return found


def draw_image(
    axis: Axes, image: np.ndarray, view: View, spacing: Sequence[float], window: tuple[float, float]
) -> None:
    """Draw a plane of `(X, Y, Z)` in greys, to scale in millimetres, with the letters of its edges."""
    plane = view.of(image)
    low, high = window
    axis.imshow(
        plane,
        cmap="gray",
        vmin=low,
        vmax=high,
        origin="lower",
        interpolation="nearest",
        extent=_extent(plane, view, spacing),
    )
    axis.set_title(view.name, fontsize=9.5, color=INK)
    axis.grid(visible=False)
    axis.set_axis_off()
    left, right, lower, upper = view.letters
    for letter, x, y in ((left, 0.04, 0.5), (right, 0.96, 0.5), (lower, 0.5, 0.04), (upper, 0.5, 0.96)):
        axis.text(
            x, y, letter, transform=axis.transAxes, ha="center", va="center", fontsize=9, color="white", weight="bold",
            path_effects=[withStroke(linewidth=2, foreground="black")],
        )  # fmt: skip


def draw_contours(
    axis: Axes,
    label: np.ndarray,
    view: View,
    spacing: Sequence[float],
    colours: Mapping[int, str],
    *,
    width: float = 0.9,
    dash: str = "-",
) -> None:
    """Draw the outline of each class of `(X, Y, Z)` in its colour, half-way between voxels in and out."""
    plane = view.of(label)
    right, top = _extent(plane, view, spacing)[1::2]
    x = (np.arange(-1, plane.shape[1] + 1) + 0.5) * right / plane.shape[1]
    y = (np.arange(-1, plane.shape[0] + 1) + 0.5) * top / plane.shape[0]
    for k, colour in colours.items():
        inside = np.pad(plane == k, 1)  # closed at the edge of the picture too
        if inside.any():
            axis.contour(x, y, inside, levels=[0.5], colors=[colour], linewidths=width, linestyles=dash)


def overlay(case: Segmentation, labels: tuple[str, ...], image: Image, opacity: float = OPACITY) -> Figure:
    """Draw the three planes with most foreground, labels in colours over greys.

    Args:
        labels: names of the classes, 0 the background.
        image: that was segmented.
        opacity: of the labels, 0 to 1.
    """
    frame = make_frame(case.like.geometry, (None, None, None))
    grey, label = frame.canonical(image.array), frame.canonical(case.label)
    spacing = [case.like.geometry.spacing[axis] for axis in frame.axes]
    colours = label_colours(len(labels) - 1)
    shown = views(label > 0)
    figure, axes = panels([extent(view, label.shape, spacing) for view in shown])
    for axis, view in zip(axes, shown, strict=True):
        draw_image(axis, grey, view, spacing, window_of(grey))
        _fill(axis, view.of(label), view, spacing, colours, opacity)
        draw_contours(axis, label, view, spacing, dict(enumerate(colours, start=1)))
    present = [k for k in range(1, len(labels)) if (label == k).any()]
    handles = [Patch(facecolor=colours[k - 1], label=verbatim(labels[k])) for k in present]
    if not handles:
        handles = [Patch(facecolor="none", label="nothing found")]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8.5, labelcolor=INK)
    return figure


def extent(view: View, shape: Sequence[int], spacing: Sequence[float]) -> tuple[float, float]:
    """Return the width and height in millimetres of a view of a volume."""
    return shape[view.across] * spacing[view.across], shape[view.up] * spacing[view.up]


def window_of(image: np.ndarray) -> tuple[float, float]:
    """Return the intensities that become black and white: the 0.5 and 99.5 percentiles of evenly spaced voxels."""
    sample = image[tuple(slice(None, None, -(-size // 96)) for size in image.shape)]
    low, high = np.percentile(sample, _WINDOW)
    return float(low), float(high) if high > low else float(low) + 1.0


def write_overlay(case: Segmentation, labels: tuple[str, ...], path: Path, opacity: float = OPACITY) -> None:
    """Read the case's image again and write `overlay` as PNG: the whole file or none of it; nothing but pixels."""
    picture = png(overlay(case, labels, read_image(case.like.path), opacity))
    with replaced(path) as part:
        part.write_bytes(picture)


def panels(extents: Sequence[tuple[float, float]]) -> tuple[Figure, list[Axes]]:
    """Return a figure with axes side by side for pictures of these widths and heights, all to one scale."""
    widths = [width for width, _ in extents]
    scale = min(_WIDTH / sum(widths), _HEIGHT / max(height for _, height in extents))
    width = max(scale * sum(widths) + 0.3, 3.2)
    figure, axes = canvas(width=width, height=scale * max(height for _, height in extents) + 0.9, columns=len(extents))
    grid = axes[0].get_gridspec()
    assert grid is not None
    grid.set_width_ratios(widths)
    return figure, axes


def verbatim(name: str) -> str:
    """Return a name with the sign that would begin a formula taken out of its meaning."""
    return name.replace("$", r"\$")


def _lighter(colour: str) -> str:
    red, green, blue = (0.5 + 0.5 * part for part in to_rgb(colour))
    return to_hex((red, green, blue))


def _fill(
    axis: Axes, plane: np.ndarray, view: View, spacing: Sequence[float], colours: Sequence[str], opacity: float
) -> None:
    table = np.array([(0.0, 0.0, 0.0, 0.0), *((*to_rgb(colour), opacity) for colour in colours)])
    axis.imshow(table[plane], origin="lower", interpolation="nearest", extent=_extent(plane, view, spacing))


def _extent(plane: np.ndarray, view: View, spacing: Sequence[float]) -> tuple[float, float, float, float]:
    return 0.0, plane.shape[1] * spacing[view.across], 0.0, plane.shape[0] * spacing[view.up]
