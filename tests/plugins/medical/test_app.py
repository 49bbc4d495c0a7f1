"""The page, run headless: every tab works, results stay, mistakes are one line, and surfaces are closed."""

import io
import zipfile
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from matplotlib.image import imread

testing = pytest.importorskip("streamlit.testing.v1")
nibabel = pytest.importorskip("nibabel")

from omniform.errors import DataError  # noqa: E402
from omniform_medical.app.mesh import surface  # noqa: E402
from omniform_medical.app.scene import TRUTH, make_scene  # noqa: E402
from omniform_medical.app.slices import Look, draw_plane, planes_of  # noqa: E402
from omniform_medical.app.surfaces import draw_surfaces, label_meshes  # noqa: E402
from omniform_medical.app.unpacking import unpack  # noqa: E402
from omniform_medical.case import Volume  # noqa: E402
from omniform_medical.geometry import Geometry  # noqa: E402
from omniform_medical.image import Image  # noqa: E402
from omniform_medical.reading import read_label  # noqa: E402
from omniform_medical.segmentation import Segmentation, Segmentations  # noqa: E402

needs_sample = pytest.mark.skipif(find_spec("nilearn") is None, reason="nilearn is not installed")


def _script():
    from omniform.workbench import Workbench
    from omniform_medical.app import page

    page(Workbench(domain="medical"))


@pytest.fixture
def app(monkeypatch):
    """The page, with budgets of a few steps."""
    monkeypatch.setattr("omniform.workbench.fields._BUDGETS", ("2",))
    return testing.AppTest.from_function(_script, default_timeout=180)


def _nifti(array, affine):
    return nibabel.Nifti1Image(array, affine).to_bytes()


def _case(seed, affine):
    """Return an image with a bright ball in noise, and the label of the ball."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(6, 10, 3)
    inside = ((np.indices((16, 16, 16)).T - middle).T ** 2).sum(axis=0) < 16
    image = rng.normal(0, 0.3, inside.shape) + 2 * inside
    return _nifti(image.astype(np.float32), affine), _nifti(inside.astype(np.uint8), affine)


def _zip(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def balls(oblique):
    """Return a zip of a data set, within a folder as desktops pack it."""
    files = {"__MACOSX/._balls": b"x", "balls/readme.txt": b"x"}
    for seed in range(8):
        image, label = _case(seed, oblique)
        files[f"balls/images/case{seed}.nii"] = image
        files[f"balls/labels/case{seed}.nii"] = label
    return _zip(files)


def _upload(app, content, name, slot="data"):
    app.run()
    if slot == "data":
        app.radio(key="medical.data.source").set_value("upload").run()
    app.file_uploader(key=f"medical.{slot}.upload").set_value((name, content, "application/octet-stream")).run()
    assert not app.exception
    return app


def _said(app):
    return [error.value.replace("\\", "") for error in app.error]


@needs_sample
def test_the_page_opens_on_the_sample_with_its_plan_and_three_planes(app):
    app.run()
    assert not app.exception
    assert not app.error
    assert [tab.label for tab in app.tabs] == ["Look", "Train", "Compare", "Predict"]
    assert {metric.label: metric.value for metric in app.metric} == {
        "Cases": "8",
        "Labels": "2",
        "Voxels": "36 x 9 x 78",
        "Millimetres": "2 x 2 x 2",
    }
    assert any("Spacing 2 x 2 x 2 mm" in markdown.value for markdown in app.markdown)
    (axial,) = [slider for slider in app.slider if slider.label.startswith("axial")]
    app.slider(key=axial.key).set_value(30).run()
    assert not app.exception
    assert any("At the crosshair" in caption.value for caption in app.caption)


@pytest.mark.slow
def test_a_data_set_is_trained_on_and_its_run_predicts(app, balls, oblique, tmp_path):
    _upload(app, balls, "balls.zip")
    assert not app.error
    app.button(key="medical.train.go").click().run()
    assert not app.exception
    assert not app.error
    frames = [frame.value for frame in app.dataframe]
    scores = next(frame for frame in frames if "role" in frame.columns)
    assert {"linear-attention", "atlas", "prior"} <= set(scores[""])
    volumes = next(frame for frame in frames if "estimated Dice" in frame.columns)
    assert volumes["by"].tolist() == ["linear-attention", "atlas", "prior", TRUTH]
    app.toggle(key="medical.train.confidence").set_value(True).run()
    assert not app.exception

    image, _ = _case(99, oblique)
    _upload(app, image, "somebody.nii", slot="predict")
    app.button(key="medical.predict.go").click().run()
    assert not app.exception
    assert not app.error
    predicted = app.session_state["medical.predict.outcome"][1]
    assert [case.name for case in predicted.items.cases] == ["somebody"]
    files = app.session_state["medical.predict.files.made"][1]
    name, content = files["Download the segmentation"]
    assert name == "somebody_segmentation.nii.gz"
    (tmp_path / name).write_bytes(content)
    label = read_label(tmp_path / name)
    assert label.geometry.differs(Geometry((16, 16, 16), oblique)) is None
    np.testing.assert_array_equal(label.array, predicted.told["linear-attention"].cases[0].label)
    assert files["Download the volumes"][1].decode().splitlines()[1].startswith("somebody,")

    archive = app.session_state["medical.train.outcome"][1].trial.archive
    zipfile.ZipFile(io.BytesIO(archive)).extractall(tmp_path)
    assert b"omniform-" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*.json"))
    app.radio(key="medical.predict.run.2").set_value("a run folder on this machine").run()
    app.text_input(key="medical.predict.folder").set_value(str(tmp_path / "run")).run()
    app.button(key="medical.predict.go").click().run()
    assert not app.exception
    assert not app.error
    again = app.session_state["medical.predict.outcome"][1]
    np.testing.assert_array_equal(again.told["linear-attention"].cases[0].label, label.array)


def test_a_dicom_series_is_looked_at_and_names_nobody(app, dicom_series, voxels, oblique, planted, tmp_path):
    folder = dicom_series(tmp_path / "series", voxels, oblique)
    content = _zip({f"Quillfeather/{path.name}": path.read_bytes() for path in folder.iterdir()})
    _upload(app, content, "head.zip")
    assert not app.error
    assert {metric.label: metric.value for metric in app.metric}["Voxels"] == "7 x 6 x 5"
    shown = " ".join(str(each.value) for each in (*app.caption, *app.markdown, *app.warning, *app.metric))
    assert not [text for text in planted if text in shown]


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"", "a.nii", "a.nii"),
        (b"not a volume", "a.nii.gz", "a.nii.gz"),
        (b"PK no more", "a.zip", "truncated, corrupt or no zip archive"),
        (_zip({"../../images/a.nii": b"x"}), "a.zip", "outside of the folder"),
        (_zip({"images/a.nii": b"x"}), "a.zip", "has images/ but no labels/"),
        (_zip({"images/a.nii": b"x", "labels/a.nii": b"x"}), "a.zip", "a.zip"),
        (_zip({"dataset.json": b"{"}), "a.zip", "dataset.json"),
    ],
)
def test_a_broken_upload_is_one_line(app, content, name, said):
    _upload(app, content, name)
    told = _said(app)
    assert told
    assert said in told[0]
    assert "omniform-" not in " ".join(told)


def test_absent_folders_are_one_line(app):
    app.run()
    app.radio(key="medical.data.source").set_value("folder").run()
    app.text_input(key="medical.data.folder").set_value("/nowhere/at/all").run()
    app.text_input(key="medical.predict.folder").set_value("/nowhere/run").run()
    app.radio(key="medical.predict.source").set_value("a path on this machine").run()
    app.text_input(key="medical.predict.path").set_value("/nowhere/ct.nii.gz").run()
    app.button(key="medical.predict.go").click().run()
    assert not app.exception
    assert len(app.error) == 2
    assert "'all'" in _said(app)[0]


def test_an_archive_keeps_the_names_of_a_data_set_and_is_deleted(balls, tmp_path):
    (tmp_path / "a.zip").write_bytes(balls)
    found = unpack(tmp_path / "a.zip", "a.zip")
    assert found is not None
    assert sorted(path.name for path in found.path.iterdir()) == ["images", "labels"]
    assert (found.path / "images" / "case3.nii").read_bytes()[:4] == (348).to_bytes(4, "little")
    found.folder.cleanup()
    assert not found.path.exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for content in ("x", "y"):
            archive.writestr("images/a.nii", content)
    with pytest.raises(DataError, match="two files of one name"):
        unpack(tmp_path / "a.zip", "a.zip")


def _ball(size=21, radius=8.0):
    return ((np.indices((size,) * 3) - size // 2) ** 2).sum(axis=0) <= radius**2


def _edges(faces):
    pairs = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
    return pairs, np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)


def _volume(mesh):
    """Return the volume enclosed, by the divergence theorem over two triangles a face."""
    a, b, c, d = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    return sum(np.einsum("fi,fi->", p, np.cross(q, r)) for p, q, r in ((a, b, c), (a, c, d))) / 6


@pytest.mark.parametrize("rounds", [0, 10])
def test_the_surface_of_a_ball_is_a_sphere(rounds):
    mask, spacing = _ball(), (1.0, 0.5, 2.0)
    mesh = surface(mask, spacing, rounds=rounds)
    pairs, (edges, counts) = _edges(mesh.faces)
    assert len(mesh.vertices) - len(edges) + len(mesh.faces) == 2
    assert (counts == 2).all()
    assert len(np.unique(pairs, axis=0)) == len(pairs)  # every edge once in each direction: one outside
    assert _volume(mesh) == pytest.approx(mask.sum() * np.prod(spacing), rel=1e-9 if rounds == 0 else 0.03)
    middle = (np.array(mask.shape) / 2) * spacing
    assert np.abs(mesh.vertices.mean(axis=0) - middle).max() < 0.05


def test_the_smoothed_ball_is_round():
    middle = np.full(3, 10.5)
    spread = {}
    for rounds in (0, 10):
        mesh = surface(_ball(), (1.0, 1.0, 1.0), rounds=rounds)
        spread[rounds] = np.linalg.norm(mesh.vertices - middle, axis=1).std()
        centres = mesh.vertices[mesh.faces].mean(axis=1) - middle
        assert (np.einsum("fi,fi->f", mesh.normals, centres) > 0).all()
    assert spread[10] < spread[0] / 2


def test_a_hole_through_and_any_mask_are_closed():
    ring = _ball(15, 6.0)
    ring[6:9, 6:9] = False
    mesh = surface(ring, (1.0, 1.0, 1.0))
    _, (edges, counts) = _edges(mesh.faces)
    assert len(mesh.vertices) - len(edges) + len(mesh.faces) == 0  # of a torus
    noise = np.random.default_rng(0).random((6, 5, 4)) < 0.5
    mesh = surface(noise, (1.0, 2.0, 3.0), rounds=0)
    _, (edges, counts) = _edges(mesh.faces)
    assert (counts % 2 == 0).all()
    assert _volume(mesh) == pytest.approx(noise.sum() * 6)


def test_surfaces_of_large_volumes_are_coarse_but_as_large():
    label = np.zeros((130, 60, 40), np.uint8)
    label[20:100, 10:50, 10:30] = 1
    label[5, 5, 5] = 2  # a single voxel is not lost
    meshes = label_meshes(label, (0.5, 1.0, 2.0), 4)
    assert sorted(meshes) == [1, 2]
    assert _volume(meshes[1]) == pytest.approx(80 * 40 * 20, rel=0.05)
    picture = draw_surfaces(meshes, 4, turn=30)
    assert picture.startswith(b"\x89PNG")
    assert draw_surfaces({}, 4, turn=30) != picture


@pytest.fixture
def scene(affine):
    """A scene on a grid that lies in any way, whose intensities are the millimetres to the right."""
    rng = np.random.default_rng(0)
    geometry = Geometry((9, 8, 7), affine)
    index = np.indices(geometry.shape).reshape(3, -1)
    right = (affine[:3, :3] @ index + affine[:3, 3:])[0].reshape(geometry.shape).astype(np.float32)
    label = rng.integers(0, 3, geometry.shape).astype(np.uint8)
    like = Image(right, geometry, None)
    told = Segmentation("case", (label + 1) % 3, np.full(label.shape, 204, np.uint8), like)
    labels = ("background", "a", "b")
    every = {"net": Segmentations([told], labels, (0, 1, 2))}
    return make_scene("case", Volume(right[None], label, like), labels, ("image",), every)


def test_the_crosshair_tells_where_it_is(scene):
    for at in ((0, 0, 0), (3, 5, 2), tuple(size - 1 for size in scene.shape)):
        assert scene.position(at)[0] == pytest.approx(float(scene.image[(0, *at)]), abs=1e-3)


def test_volumes_stand_side_by_side(scene):
    table = scene.table()
    assert table["label"].tolist() == ["a", "a", "b", "b"]
    assert table["by"].tolist() == ["net", TRUTH] * 2
    voxel = scene.frame.geometry.voxel_volume
    truth = scene.layers[TRUTH].label
    assert table["mL"].iloc[1] == pytest.approx(voxel * (truth == 1).sum())
    assert table["confidence"].iloc[0] == pytest.approx(0.8)
    assert np.isnan(table["confidence"].iloc[1])
    assert table["Dice"].iloc[0] == 0


def _look(scene, **change):
    low, high = float(scene.image.min()), float(scene.image.max())
    look = Look(
        at=(1, 1, 1), channel=0, fill="net", outlines=(TRUTH,), opacity=0.5, window=(low, high), confidence=False
    )
    return replace(look, **change)


def test_a_plane_shows_what_is_asked_for(scene):
    planes = planes_of(scene)
    assert [plane.name for plane in planes] == ["axial", "coronal", "sagittal"]
    window = (float(scene.image.min()) - 9, float(scene.image.max()) + 1)
    changes = ({}, {"at": (1, 1, 2)}, {"fill": None}, {"outlines": ()}, {"confidence": True}, {"window": window})
    pictures = [draw_plane(scene, planes[0], _look(scene, **change)) for change in changes]
    assert len(set(pictures)) == len(changes)


def test_the_lines_cross_at_the_voxel(scene):
    at = (7, 1, 2) if scene.shape[0] > 7 else (1, 1, 2)
    scene.image[...] = 0
    scene.image[(0, *at)] = 1
    for plane in planes_of(scene):
        picture = imread(io.BytesIO(draw_plane(scene, plane, _look(scene, at=at, fill=None, outlines=()))))[..., :3]
        row, column = picture[:, 0].sum(axis=1).argmax(), picture[0].sum(axis=1).argmax()
        assert picture[0, column].max() > 0.5  # a line, on black
        np.testing.assert_allclose(picture[row, column], 1, atol=0.02)
