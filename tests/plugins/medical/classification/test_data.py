"""Folders, tables, archives and arrays become albums, or are refused in one line."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from omniform.errors import ConfigError, DataError, OmniformError
from omniform_medical.classification.config import ClassifyConfig
from omniform_medical.classification.data import read_album

CONFIG = ClassifyConfig(image=(16, 12))


def test_class_folders(make_album, write_album, tmp_path):
    album = make_album(9)
    folder = write_album(album, tmp_path / "set")
    (folder / ".hidden").mkdir()
    (folder / "notes.txt").write_text("no picture")
    read = read_album(folder, ClassifyConfig())
    assert (read.image, read.channels, len(read)) == ((16, 12), 1, 9)
    for pixels, name, label in zip(read.pixels, read.names, read.known_labels(), strict=True):
        assert name.startswith(f"{label}/")
        np.testing.assert_array_equal(pixels, album.pixels[album.names.index(name.split("/")[1])])
    assert read.fingerprint() == read_album(folder, ClassifyConfig()).fingerprint()
    (folder / "across" / "k000.png").unlink()
    assert read.fingerprint() != read_album(folder, ClassifyConfig()).fingerprint()


def test_parts_are_those_of_the_folders(make_album, write_album, tmp_path):
    parts = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    folder = write_album(make_album(12, channels=3, parts=parts), tmp_path)
    album = read_album(folder, CONFIG)
    assert album.channels == 3
    assert sorted(album.parts) == ["test"] * 3 + ["train"] * 6 + ["validation"] * 3
    (folder / "stray").mkdir()
    with pytest.raises(DataError, match="beside the folder train"):
        read_album(folder, CONFIG)


def test_a_table_names_classes_and_patients(make_album, tmp_path):
    album = make_album(4, patients=True)
    for pixels, name in zip(album.pixels, album.names, strict=True):
        Image.fromarray(pixels[..., 0]).save(tmp_path / name)
    lines = [f"{n},{label},{p}" for n, label, p in zip(album.names, album.known_labels(), album.patients, strict=True)]
    table = tmp_path / "labels.csv"
    table.write_text("File,Label,Patient\n" + "\n".join(lines) + "\n", encoding="utf-8")
    read = read_album(table, CONFIG)
    assert (read.names, read.labels, read.patients) == (album.names, album.labels, album.patients)
    assert read_album(tmp_path, CONFIG, labelled=False).labels is None
    with pytest.raises(DataError, match="no labels"):
        read_album(tmp_path, CONFIG)
    for text, words in (
        ("name,label\na,b\n", "expected file"),
        ("file,label\nk000.png,\n", "line 2: the column label is empty"),
        ("file,label\n../k000.png,a\n", "outside"),
        ("file,label\nk000.png,a\nk000.png,b\n", "twice"),
        ("file,label\n", "no row"),
        ("file,label\nabsent.png,a\n", "no file"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=words):
            read_album(table, CONFIG)


def test_the_pattern_finds_patients_in_names(make_album, write_album, tmp_path):
    folder = write_album(make_album(6), tmp_path)
    album = read_album(folder, ClassifyConfig(group=r"k\d(\d)\d"))
    assert set(album.patients) == {"0"}
    assert read_album(folder, ClassifyConfig(group=r"k\d+")).patients[0].startswith("k")
    with pytest.raises(DataError, match="does not match"):
        read_album(folder, ClassifyConfig(group="patient"))


def test_size_and_colour_follow_the_usual_picture_or_the_config(tmp_path):
    rng = np.random.default_rng(0)
    for place, shape in enumerate([(100, 200), (120, 200, 3), (100, 180)]):
        (tmp_path / "ab"[place % 2]).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(tmp_path / "ab"[place % 2] / f"{place}.png")
    album = read_album(tmp_path, ClassifyConfig())
    assert (album.image, album.channels) == ((32, 64), 3)
    assert read_album(tmp_path, ClassifyConfig(image=(10, 20), channels=1)).pixels.shape == (3, 10, 20, 1)


def test_depths_are_not_mixed(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a" / "0.png")
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(tmp_path / "a" / "1.png")
    with pytest.raises(DataError, match="bits"):
        read_album(tmp_path, ClassifyConfig())


def medmnist(path, channels=(), **changes):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 12), ("val", 6), ("test", 6)):
        arrays[f"{part}_images"] = rng.integers(0, 255, (count, 28, 28, *channels), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(count)[:, None] % 11
    np.savez_compressed(path, **(arrays | changes))
    return arrays | changes


@pytest.mark.parametrize("channels", [(), (3,)])
def test_medmnist_has_three_parts_and_numbered_classes(tmp_path, channels):
    arrays = medmnist(tmp_path / "a.npz", channels)
    album = read_album(tmp_path / "a.npz", ClassifyConfig())
    np.testing.assert_array_equal(album.pixels[12:18].reshape(6, -1), arrays["val_images"].reshape(6, -1))
    assert [album.parts.count(part) for part in ("train", "validation", "test")] == [12, 6, 6]
    assert album.labels[:12] == tuple(f"{i % 11:02d}" for i in range(12))
    grey = read_album(tmp_path / "a.npz", ClassifyConfig(image=(14, 20), channels=1))
    assert grey.pixels.shape == (24, 14, 20, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_images": np.zeros((12, 28, 28, 28), np.uint8)}, "planes"),
        ({"train_images": np.zeros((12, 28, 28), np.float32)}, "uint8"),
        ({"train_labels": np.zeros((12, 14), np.int64)}, "one whole number"),
        ({"train_labels": np.zeros((11, 1), np.int64)}, "one whole number"),
        ({"test_images": np.zeros((6, 32, 32), np.uint8)}, "different sizes"),
        ({"train_labels": np.array([object()] * 12)}, "pickled"),
    ],
)
def test_archives_of_other_shapes_are_refused(tmp_path, change, words):
    medmnist(tmp_path / "a.npz", **change)
    with pytest.raises(DataError, match=words):
        read_album(tmp_path / "a.npz", ClassifyConfig())


def test_archives_that_would_burst_or_are_cut_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    medmnist(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="fetch it again"):
        read_album(path, ClassifyConfig())
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**7, 28, 28)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_images.npy", header.getvalue() + bytes(1000))
    with pytest.raises(DataError, match="is it cut"):
        read_album(path, ClassifyConfig())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../train_images.txt", "x")
    with pytest.raises(OmniformError):
        read_album(path, ClassifyConfig())


def test_arrays_are_pictures_without_labels():
    arrays = np.random.default_rng(0).normal(size=(3, 20, 30))
    album = read_album(arrays, ClassifyConfig(image=(10, 15), channels=1), labelled=False)
    assert (album.pixels.shape, album.pixels.dtype) == ((3, 10, 15, 1), np.float32)
    with pytest.raises(DataError, match="C being 3"):
        read_album(arrays, ClassifyConfig(channels=3), labelled=False)
    arrays[1, 2, 3] = np.inf
    with pytest.raises(DataError, match="finite"):
        read_album(arrays, ClassifyConfig(), labelled=False)


def test_several_files_keep_their_names(make_album, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(make_album(1).pixels[0, ..., 0]).save(tmp_path / name / "same.png")
    album = read_album([tmp_path / "a" / "same.png", tmp_path / "b" / "same.png"], CONFIG, labelled=False)
    assert album.names == ("a/same.png", "b/same.png")
    alone = read_album([tmp_path / "a" / "same.png"], CONFIG, labelled=False)
    assert alone.names == ("same.png",)


def test_patients_are_looked_for_in_names_of_files_alone(tmp_path):
    medmnist(tmp_path / "a.npz")
    for source in (tmp_path / "a.npz", "sample", np.zeros((2, 9, 9))):
        with pytest.raises(ConfigError, match="names of files"):
            read_album(source, ClassifyConfig(group="x"))


@pytest.mark.parametrize("name", ["absent", "a.nii.gz"])
def test_what_is_no_source_is_told(tmp_path, name):
    (tmp_path / "a.nii.gz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"\.npz|check the path"):
        read_album(tmp_path / name, ClassifyConfig())


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(DataError, match="got none"):
        read_album(tmp_path, ClassifyConfig())


def test_the_sample_keeps_its_slabs_apart(needs_sample):
    album = read_album("sample", ClassifyConfig())
    assert (album.pixels.shape, album.pixels.dtype) == ((1050, 64, 64, 1), np.uint8)
    assert [album.parts.count(part) for part in ("train", "validation", "test")] == [600, 150, 300]
    places = {}
    for part, patient in zip(album.parts, album.patients, strict=True):
        assert places.setdefault(patient, part) == part
    assert album.fingerprint() == read_album("sample", ClassifyConfig()).fingerprint()
    assert read_album("sample", ClassifyConfig(image=(32, 32), channels=3)).pixels.shape == (1050, 32, 32, 3)
