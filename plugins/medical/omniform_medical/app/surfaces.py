"""Labels in space: their surfaces, lit, as a picture.

X, Y, Z = voxels along canonical axes
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from omniform.plots import INK
from omniform_medical.app.mesh import Mesh, surface
from omniform_medical.overlays import label_colours

__all__ = ["draw_surfaces", "label_meshes"]

_SIDE = 56  # cells along an axis at most: more cannot be told apart, and take seconds to draw
_AMBIENT = 0.35
_FACING = 0.75  # cosine of the angle to who looks, from which on a letter would lie on the surface
_HEIGHT = 20.0  # degrees from which one looks down
_INCHES, _DPI = 4.6, 130
_HALO = [withStroke(linewidth=3, foreground="white")]


def label_meshes(label: np.ndarray, spacing: Sequence[float], classes: int) -> dict[int, Mesh]:
    """Return the surface of each foreground class of `(X, Y, Z)` that is there, in millimetres of one frame."""
    steps = [max(1, -(-size // _SIDE)) for size in label.shape]
    cells = [side * step for side, step in zip(spacing, steps, strict=True)]
    meshes = {}
    for k in range(1, classes):
        if (label == k).any():
            mask = _coarse(label == k, steps)
            meshes[k] = surface(mask, cells)
    return meshes


def draw_surfaces(meshes: dict[int, Mesh], classes: int, *, turn: float) -> bytes:
    """Draw surfaces by class, seen from the front turned by so many degrees to the patient's right, as PNG."""
    figure = Figure(figsize=(_INCHES, _INCHES))
    axis = figure.add_axes((0.06, 0.06, 0.88, 0.88), projection="3d")
    assert isinstance(axis, Axes3D)
    azimuth = 90.0 - turn  # from the front, the patient's right is on the left
    axis.view_init(elev=_HEIGHT, azim=azimuth)
    axis.set_axis_off()
    if not meshes:
        axis.text2D(0.5, 0.5, "nothing found", transform=axis.transAxes, ha="center", color=INK)
        return _png(figure)
    colours = label_colours(classes - 1)
    light = _light(azimuth)
    polygons = np.concatenate([mesh.vertices[mesh.faces] for mesh in meshes.values()])
    shades = np.concatenate([_lit(mesh.normals, colours[k - 1], light) for k, mesh in meshes.items()])
    # one collection, in which faces of all labels are sorted by their distance
    axis.add_collection3d(Poly3DCollection(polygons, facecolors=shades, edgecolors=shades, linewidths=0.2))
    _frame(axis, polygons.reshape(-1, 3), azimuth)
    return _png(figure)


def _coarse(mask: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """Return a mask of larger cells: those of which at least half is in, or anything if that is nothing."""
    if max(steps) == 1:
        return mask
    padded = np.pad(mask, [(0, -size % step) for size, step in zip(mask.shape, steps, strict=True)])
    x, y, z = (size // step for size, step in zip(padded.shape, steps, strict=True))
    share = padded.reshape(x, steps[0], y, steps[1], z, steps[2]).mean(axis=(1, 3, 5))
    return share >= 0.5 if (share >= 0.5).any() else share > 0


def _light(azimuth: float) -> np.ndarray:
    """Return the direction of a lamp over the left shoulder of who looks."""
    angle = np.deg2rad(azimuth - 30)
    direction = np.array([np.cos(angle), np.sin(angle), 0.7])
    return direction / np.linalg.norm(direction)


def _lit(normals: np.ndarray, colour: str, light: np.ndarray) -> np.ndarray:
    """Return the colours `(F, 3)` of faces: what they always have, and more the more they face the lamp."""
    shade = _AMBIENT + (1 - _AMBIENT) * np.clip(normals @ light, 0, 1)
    return np.clip(shade[:, None] * np.array(to_rgb(colour)) * 1.1, 0, 1)


def _frame(axis: Axes3D, points: np.ndarray, azimuth: float) -> None:
    """Show all points to one scale, with letters at the patient's sides that are not before or behind the surface."""
    low, high = points.min(axis=0), points.max(axis=0)
    middle, size = (low + high) / 2, high - low
    for side, place, length in zip("xyz", middle, size, strict=True):
        getattr(axis, f"set_{side}lim")(place - length / 2, place + length / 2)
    axis.set_box_aspect(tuple(size))
    reach = 0.5 * size + 0.08 * size.max()
    towards = np.array([np.cos(np.deg2rad(azimuth)), np.sin(np.deg2rad(azimuth)), 0.0])
    for letters, direction in zip(("LR", "PA", "IS"), np.eye(3), strict=True):
        if abs(direction @ towards) > _FACING:
            continue
        for letter, sign in zip(letters, (-1, 1), strict=True):
            x, y, z = middle + sign * direction * reach
            axis.text(
                x, y, z, letter, color=INK, fontsize=10, weight="bold", ha="center", va="center", path_effects=_HALO
            )  # fmt: skip


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, transparent=True)
    return buffer.getvalue()
