"""A plane of a scene as a picture: grey values, labels or confidence over them, outlines, and the crosshair.

X, Y, Z = voxels along canonical axes
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from omniform_medical.app.scene import TRUTH, Scene
from omniform_medical.overlays import View, draw_contours, draw_image, extent, label_colours, views

__all__ = ["CONFIDENCE", "Look", "draw_plane", "planes_of"]

CONFIDENCE = "viridis"
"""The colours of confidence, from unsure to sure."""

_INCHES, _DPI = 3.6, 150
_CROSS = "#FFD166"
_OUTLINES = ("#FFFFFF", "#56B4E9", "#E69F00", "#CC79A7")
_SURE = 242  # of 255: background that is surer is left as it is
_GAP = 0.04  # of the picture, that the crosshair leaves free around its centre
_BARS = (1, 2, 5, 10, 20, 50, 100, 200)  # millimetres
_HALO = [withStroke(linewidth=2, foreground="black")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a scene is looked at.

    Attributes:
        at: the voxel that the three planes share.
        channel: of the image.
        fill: the layer whose labels are filled, if any.
        outlines: layers whose labels are outlined.
        opacity: of the filling, 0 to 1.
        window: the intensities that become black and white.
        confidence: show the confidence of `fill` instead of its labels.
    """

    at: tuple[int, int, int]
    channel: int
    fill: str | None
    outlines: tuple[str, ...]
    opacity: float
    window: tuple[float, float]
    confidence: bool


def planes_of(scene: Scene) -> list[View]:
    """Return the planes to look at, each where most is labelled; of a flat volume its one plane."""
    return views(scene.foreground)


def draw_plane(scene: Scene, view: View, look: Look) -> bytes:
    """Draw the plane of `view` that the crosshair lies in, as PNG; right of the patient is left."""
    view = replace(view, index=look.at[view.normal])
    figure = Figure(figsize=(_INCHES, _INCHES), facecolor="black")
    axis = figure.add_axes((0, 0, 1, 1))
    draw_image(axis, scene.image[look.channel], view, scene.spacing, look.window)
    axis.set_title("")
    if look.fill is not None:
        _fill(axis, scene, view, look)
    for place, name in enumerate(look.outlines):
        colours = dict.fromkeys(range(1, len(scene.labels)), outline_colour(name, place))
        draw_contours(axis, scene.layers[name].label, view, scene.spacing, colours, width=1.1)
    side = _square(axis, scene, view)
    _cross(axis, scene, view, look.at, side)
    _write(axis, view.name, side)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="black")
    return buffer.getvalue()


def outline_colour(name: str, place: int) -> str:
    """Return the colour of a layer's outline: the truth is white."""
    return _OUTLINES[0] if name == TRUTH else _OUTLINES[1 + place % (len(_OUTLINES) - 1)]


def _fill(axis: Axes, scene: Scene, view: View, look: Look) -> None:
    assert look.fill is not None
    layer = scene.layers[look.fill]
    label = view.of(layer.label)
    if look.confidence and layer.confidence is not None:
        confidence = view.of(layer.confidence)
        colours = colormaps[CONFIDENCE](confidence)
        colours[..., 3] = np.where((label > 0) | (confidence < _SURE), look.opacity, 0.0)
    else:
        table = [(*to_rgb(colour), look.opacity) for colour in label_colours(len(scene.labels) - 1)]
        colours = np.array([(0.0, 0.0, 0.0, 0.0), *table])[label]
    width, height = extent(view, scene.shape, scene.spacing)
    axis.imshow(colours, origin="lower", interpolation="nearest", extent=(0.0, width, 0.0, height))


def _square(axis: Axes, scene: Scene, view: View) -> float:
    """Put the plane into the middle of a square, and return the square's side in millimetres."""
    width, height = extent(view, scene.shape, scene.spacing)
    side = 1.1 * max(width, height)
    axis.set_xlim(width / 2 - side / 2, width / 2 + side / 2)
    axis.set_ylim(height / 2 - side / 2, height / 2 + side / 2)
    return side


def _cross(axis: Axes, scene: Scene, view: View, at: Sequence[int], side: float) -> None:
    """Draw the lines in which the two other planes cut this one."""
    across, up = view.across, view.up
    x = (scene.shape[across] - at[across] - 0.5) * scene.spacing[across]  # it runs from right to left
    y = (at[up] + 0.5) * scene.spacing[up]
    (left, right), (bottom, top), gap = axis.get_xlim(), axis.get_ylim(), _GAP * side
    for ends in ((left, x - gap), (x + gap, right)):
        axis.plot(ends, (y, y), color=_CROSS, linewidth=0.8, alpha=0.8)
    for ends in ((bottom, y - gap), (y + gap, top)):
        axis.plot((x, x), ends, color=_CROSS, linewidth=0.8, alpha=0.8)
    axis.set_xlim(left, right)
    axis.set_ylim(bottom, top)


def _write(axis: Axes, name: str, side: float) -> None:
    """Write what the plane is called, and a bar of a round length."""
    axis.text(0.04, 0.95, name, transform=axis.transAxes, color="white", fontsize=9.5, path_effects=_HALO, va="center")
    length = max((bar for bar in _BARS if bar <= side / 4), default=_BARS[0])
    start, height = 0.96 - length / side, 0.045
    axis.plot((start, 0.96), (height, height), transform=axis.transAxes, color="white", linewidth=2)
    axis.text(
        start - 0.02, height, f"{length} mm", transform=axis.transAxes, color="white", fontsize=8, ha="right",
        va="center", path_effects=_HALO,
    )  # fmt: skip
