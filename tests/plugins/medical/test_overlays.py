"""Pictures of labels over images, in the radiological convention."""

import io
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from omniform.plots import canvas, png
from omniform_medical.geometry import Geometry
from omniform_medical.image import Image
from omniform_medical.overlays import View, draw_contours, label_colours, overlay, views, write_overlay
from omniform_medical.preprocessing import make_frame
from omniform_medical.segmentation import Segmentation

LABELS = ("background", "liver", "cost$ of $ it")


def _case(label, affine, array=None):
    image = Image(
        np.zeros(label.shape, np.float32) if array is None else array, Geometry(label.shape, affine), Path("a")
    )
    return Segmentation("a", label, np.full(label.shape, 255, np.uint8), image)


def _drawn(figure):
    """Return the pictures of each view: greys, then labels."""
    return [(axis.get_title(), [image.get_array() for image in axis.images], axis) for axis in figure.axes]


def test_the_patients_right_is_on_the_left_and_front_and_top_are_up(affine):
    label = np.zeros((14, 12, 10), np.uint8)
    frame = make_frame(Geometry(label.shape, affine), (None, None, None))
    canonical = frame.canonical(label)  # a view: what is written here is written there
    canonical[-3:, -2:, -4:] = 1  # to the right, in front, on top
    shown = _drawn(overlay(_case(label, affine), LABELS, _case(label, affine).like))
    assert [name for name, _, _ in shown] == ["axial", "coronal", "sagittal"]
    sides = {"axial": ("R", "L", "P", "A"), "coronal": ("R", "L", "I", "S"), "sagittal": ("A", "P", "I", "S")}
    for name, (_, colours), axis in shown:
        filled = np.argwhere(colours[..., 3] > 0)  # rows upwards, since the origin is below
        rows, columns = colours.shape[:2]
        assert filled[:, 0].min() > rows / 2
        assert filled[:, 1].max() < columns / 2
        letters = {text.get_text(): text.get_position() for text in axis.texts}
        left, right, lower, upper = (letters[letter] for letter in sides[name])
        assert left[0] < 0.1 < 0.9 < right[0]
        assert lower[1] < 0.1 < 0.9 < upper[1]


def test_planes_are_those_with_most_foreground_and_to_scale():
    label = np.zeros((10, 12, 8), np.uint8)
    label[2, 3, 1], label[4:7, 5, 5:7] = 1, 2
    assert [view.index for view in views(label > 0)] == [5, 5, 4]
    assert [view.index for view in views(label > 9)] == [4, 6, 5]  # the middle
    figure = overlay(_case(label, np.diag([0.5, 1.0, 3.0, 1.0])), LABELS, _case(label, np.eye(4)).like)
    for (_, _, axis), (width, height) in zip(_drawn(figure), ((5, 12), (5, 24), (12, 24)), strict=True):
        assert axis.images[0].get_extent() == [0, width, 0, height]
        assert axis.get_aspect() == 1
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["liver", r"cost\$ of \$ it"]


def test_a_flat_volume_is_one_picture_and_nothing_found_is_said():
    label = np.zeros((9, 7, 1), np.uint8)
    figure = overlay(_case(label, np.eye(4)), LABELS, _case(label, np.eye(4)).like)
    assert [axis.get_title() for axis in figure.axes] == ["axial"]
    assert figure.legends[0].get_texts()[0].get_text() == "nothing found"
    assert len(png(figure)) > 1000


@pytest.mark.parametrize("opacity", [0.0, 0.6])
def test_labels_have_their_colours_at_the_opacity(opacity):
    label = np.zeros((6, 6, 6), np.uint8)
    label[1:3], label[4:] = 1, 2
    _, (_, colours), _ = _drawn(overlay(_case(label, np.eye(4)), LABELS, _case(label, np.eye(4)).like, opacity))[0]
    seen = label[::-1, :, 0].T
    for k, colour in enumerate(label_colours(2), start=1):
        inside = seen == k
        np.testing.assert_allclose(colours[inside], np.tile([*to_rgb(colour), opacity], (inside.sum(), 1)))
    assert (colours[seen == 0][:, 3] == 0).all()


def test_outlines_run_between_voxels_and_close_at_the_edge():
    label = np.zeros((4, 5, 1), np.uint8)
    label[2:, 3:] = 1  # at the right edge of the body, so on the left of the picture
    view = View("axial", 2, 0, 0, 1, ("R", "L", "P", "A"))
    _, (axis,) = canvas()
    draw_contours(axis, label, view, (2.0, 3.0, 1.0), {1: "#000000"})
    (path,) = axis.collections[0].get_paths()
    (left, lower), (right, upper) = path.vertices.min(axis=0), path.vertices.max(axis=0)
    assert (left, right, lower, upper) == (0.0, 4.0, 9.0, 15.0)


def test_colours_differ_for_fourteen_labels():
    assert len(set(label_colours(14))) == 14
    assert len(label_colours(40)) == 40


def test_the_picture_is_written_whole_from_the_file_again(tmp_path):
    import nibabel as nib

    array = np.random.default_rng(0).random((12, 10, 8)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "scan.nii.gz")
    label = np.zeros(array.shape, np.uint8)
    label[4:8, 3:7, 2:6] = 1
    like = Image(array[:0], Geometry(array.shape, np.eye(4)), tmp_path / "scan.nii.gz")
    write_overlay(Segmentation("scan", label, label, like), LABELS, tmp_path / "pictures" / "scan.png")
    picture = matplotlib.image.imread(io.BytesIO((tmp_path / "pictures" / "scan.png").read_bytes()))
    blue = np.array(to_rgb(label_colours(1)[0]))
    assert (np.abs(picture[..., :3] - blue).max(axis=-1) < 0.02).any()
    assert [file.name for file in (tmp_path / "pictures").iterdir()] == ["scan.png"]
