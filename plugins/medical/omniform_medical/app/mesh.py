"""The surface of a mask: the faces between voxels in and out, smoothed.

V = vertices, F = faces
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Mesh", "surface"]

_SHRINK, _SWELL = 0.5, -0.53  # Taubin's pair: smooth without a loss of volume
_ROUNDS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """A closed surface.

    Attributes:
        vertices: `(V, 3)` in millimetres from the outer corner of the first voxel.
        faces: `(F, 4)` vertices of each quadrilateral, counter-clockwise as seen from outside.
    """

    vertices: np.ndarray
    faces: np.ndarray

    @property
    def normals(self) -> np.ndarray:
        """Outward unit normals `(F, 3)`: of the diagonals, as smoothing bends a face."""
        a, b, c, d = np.moveaxis(self.vertices[self.faces], 1, 0)
        normal = np.cross(c - a, d - b)
        return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def surface(mask: np.ndarray, spacing: Sequence[float], *, rounds: int = _ROUNDS) -> Mesh:
    """Return the boundary of a mask `(X, Y, Z)`, every voxel a box of the spacing.

    Vertices are moved towards the mean of their neighbours and back by turns (Taubin, SIGGRAPH 1995), which takes the
    steps out and leaves the volume.

    Args:
        rounds: of smoothing; 0 leaves the steps.
    """
    padded = np.pad(mask.astype(np.int8), 1)
    size = np.array(padded.shape)  # also the number of lattice corners along each axis, after padding
    quads = [_faces(padded, axis, size) for axis in range(3)]
    corners, faces = np.unique(np.concatenate(quads), return_inverse=True)
    faces = faces.reshape(-1, 4)
    vertices = np.stack(np.unravel_index(corners, tuple(size)), axis=1) * np.asarray(spacing, dtype=float)
    for _ in range(rounds):
        for factor in (_SHRINK, _SWELL):
            vertices = vertices + factor * (_around(vertices, faces) - vertices)
    return Mesh(vertices, faces)


def _faces(padded: np.ndarray, axis: int, size: np.ndarray) -> np.ndarray:
    """Return the corners `(F, 4)` of the faces across an axis, as places in the lattice of corners.

    The corner (i, j, k) of the mask is the one between the padded voxels (i, j, k) and those one further.
    """
    step = np.diff(padded, axis=axis)  # +1 where the mask begins, -1 behind its end
    places = np.argwhere(step)
    sign = step[tuple(places.T)]
    second, third = (axis + 1) % 3, (axis + 2) % 3  # right-handed with the axis
    corner = places.copy()  # the face lies at index i of the mask along the axis, and begins at (j - 1, k - 1)
    corner[:, second] -= 1
    corner[:, third] -= 1
    stride = np.array([size[1] * size[2], size[2], 1])
    first = corner @ stride
    turn = np.stack([first, first + stride[second], first + stride[second] + stride[third], first + stride[third]], 1)
    return np.where(sign[:, None] < 0, turn, turn[:, ::-1])


def _around(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return the mean of each vertex' neighbours along edges; an edge counts for each face that it bounds."""
    count = len(vertices)
    pairs = np.concatenate([np.stack([faces, np.roll(faces, shift, axis=1)], axis=-1) for shift in (1, -1)])
    owner, neighbour = pairs.reshape(-1, 2).T
    degree = np.bincount(owner, minlength=count)
    sums = [np.bincount(owner, weights=vertices[neighbour, axis], minlength=count) for axis in range(3)]
    return np.stack(sums, axis=1) / np.maximum(degree, 1)[:, None]
