"""Zips of a series or a volume, and zips that were made to do harm."""

import io
import os
import shutil
import stat
import tempfile
import zipfile
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from omniform.errors import DataError, OmniformError
from omniform_medical.reading import archive, read_dicom_datasets, read_image, read_label, unpacked


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Let temporary folders lie where the test sees whether any is left, or anything beside it."""
    folder = tmp_path / "outer" / "temporary"
    folder.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir())
    assert [path.name for path in folder.parent.iterdir()] == ["temporary"]


def zipped(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def outcome(path):
    """Return the image, or the line that it was refused with."""
    try:
        return read_image(path)
    except OmniformError as error:
        return str(error)


def refused(path, line):
    for read in (read_image, read_dicom_datasets):
        with pytest.raises(DataError, match=line) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


@pytest.fixture
def nifti(tmp_path, voxels, oblique):
    nibabel.save(nibabel.Nifti1Image(voxels, oblique), tmp_path / "a.nii.gz")
    return (tmp_path / "a.nii.gz").read_bytes()


@pytest.mark.parametrize("where", ["", "DOE JOHN/Köpf/"])
def test_a_series_in_a_zip(tmp_path, voxels, oblique, dicom_series, where):
    folder = dicom_series(tmp_path / "series", voxels, oblique)
    members = {f"{where}{number}": path.read_bytes() for number, path in enumerate(folder.iterdir())}
    extra = {"readme.txt": b"x", "__MACOSX/._0": b"x", ".DS_Store": b"x", f"{where or 'a/'}": b""}
    path = zipped(tmp_path / "a.zip", members | extra)
    image = read_image(path)
    np.testing.assert_array_equal(image.array, voxels)
    np.testing.assert_allclose(image.geometry.affine, oblique, atol=1e-6)
    assert image.path == path
    assert [dataset.InstanceNumber for dataset in read_dicom_datasets(path)] == [1, 2, 3, 4, 5]
    assert read_dicom_datasets(path)[0].pixel_array.shape == (6, 7)


@pytest.mark.parametrize("name", ["a.nii.gz", "folder/b.NII.GZ"])
def test_a_volume_in_a_zip(tmp_path, voxels, nifti, name):
    path = zipped(tmp_path / "a.zip", {name: nifti})
    np.testing.assert_array_equal(read_label(path).array, voxels)
    assert read_image(path).header is not None


def test_messages_name_the_zip_and_no_member(tmp_path, voxels, oblique, dicom_series):
    def forget(dataset, number):
        if number == 2:
            del dataset.PixelSpacing

    folder = dicom_series(tmp_path / "series", voxels, oblique, forget)
    path = zipped(tmp_path / "a.zip", {f"DOE/{file.name}": file.read_bytes() for file in folder.iterdir()})
    refused(path, r"file \d of 5 \(by name\) lacks PixelSpacing")
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert "DOE" not in str(caught.value)
    assert "1.2.826" not in str(caught.value)
    assert "temporary" not in str(caught.value)


def test_bytes_and_open_files_are_unpacked_too(nifti):
    buffer = io.BytesIO()
    zipped(buffer, {"a.nii.gz": nifti})
    for source in (buffer.getvalue(), io.BytesIO(buffer.getvalue())):
        with unpacked(source, "upload.zip") as folder:
            assert [path.name for path in folder.iterdir()] == ["00001.nii.gz"]
        assert not folder.exists()


def test_the_folder_goes_whatever_happens_within(nifti):
    buffer = io.BytesIO()
    zipped(buffer, {"a.nii.gz": nifti})
    kept = []

    def fail():
        with unpacked(buffer, "a") as folder:
            kept.extend(folder.iterdir())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert kept
    assert not kept[0].exists()


@pytest.mark.parametrize(
    "name",
    ["../evil.nii", "a/../../evil.nii", "/tmp/evil.nii", "C:/evil.nii", "c:evil.nii", "..\\evil.nii", "\\evil", ".."],
)
def test_names_that_lead_out_are_refused(tmp_path, nifti, name):
    refused(zipped(tmp_path / "a.zip", {"ok.nii.gz": nifti, name: b"evil"}), "file 2 of 2 would be written outside")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path, kind):
    info = zipfile.ZipInfo("a.dcm")
    info.external_attr = (kind | 0o777) << 16
    refused(zipped(tmp_path / "a.zip", {info: b"/etc/passwd"}), "file 1 of 1 is a link or device")


def test_encrypted_members_are_refused(tmp_path, nifti):
    data = bytearray(zipped(tmp_path / "a.zip", {"a.nii.gz": nifti}).read_bytes())
    data[6] |= 1
    data[data.rindex(b"PK\1\2") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    refused(tmp_path / "a.zip", "file 1 of 1 is encrypted; unpack it first")


@pytest.mark.parametrize("name", ["b.zip", "b.tar.gz", "deep/b.7z"])
def test_archives_in_archives_are_refused(tmp_path, name):
    refused(zipped(tmp_path / "a.zip", {name: b"PK"}), "file 1 of 1 is an archive itself")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_are_refused(tmp_path, method, nifti):
    refused(zipped(tmp_path / "a.zip", {"a.nii": nifti}, method), "by a method other than DEFLATE")


def test_bombs_are_refused_before_they_are_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file, file.open("a.nii", "w") as member:
        for _ in range(80):
            member.write(bytes(2**20))
    refused(tmp_path / "a.zip", "unpacks to 80 MiB, expected at most 64 MiB; unpack it yourself")


def test_bombs_that_lie_about_their_size_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "FREE_BYTES", 10_000)
    data = zipped(tmp_path / "a.zip", {"a.nii": bytes(10**7)}).read_bytes()
    size = (10**7).to_bytes(4, "little")
    assert data.count(size) == 2
    (tmp_path / "a.zip").write_bytes(data.replace(size, (100).to_bytes(4, "little")))
    written = []

    def copy(packed, file):
        try:
            shutil.copyfileobj(packed, file)
        finally:
            written.append(file.tell())

    monkeypatch.setattr(archive, "shutil", SimpleNamespace(copyfileobj=copy))
    refused(tmp_path / "a.zip", "corrupt")
    assert max(written) <= 100


def test_members_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_MEMBERS", 3)
    refused(zipped(tmp_path / "a.zip", {str(n): b"" for n in range(4)}), "holds 4 files, expected at most 3")
    monkeypatch.setattr(archive, "MOST_BYTES", 50)
    refused(zipped(tmp_path / "a.zip", {"a": bytes(60)}), "expected at most")


@pytest.mark.parametrize("what", ["cut", "empty", "text", "checksum", "no members", "two volumes", "notes alone"])
def test_broken_archives_are_refused(tmp_path, nifti, what):
    path = zipped(tmp_path / "a.zip", {"a.nii.gz": nifti}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    if what == "cut":
        path.write_bytes(data[:-30])
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "text":
        path.write_bytes(b"no archive" * 100)
    elif what == "checksum":
        data[100] ^= 255
        path.write_bytes(data)
    elif what == "no members":
        zipped(path, {})
    elif what == "two volumes":
        zipped(path, {"a.nii.gz": nifti, "b.nii.gz": nifti})
    else:
        zipped(path, {"a.txt": b"hello", ".DS_Store": b""})
    with pytest.raises(
        DataError, match=r"corrupt or no zip archive|holds no file|holds 2 images, expected one"
    ) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_random_damage_is_read_or_refused(tmp_path, nifti, voxels):
    whole = zipped(tmp_path / "a.zip", {"a.nii.gz": nifti}).read_bytes()
    random = np.random.default_rng(3)
    for _ in range(150):
        data = bytearray(whole)
        for place in random.integers(0, len(data), 2):
            data[place] = random.integers(0, 256)
        (tmp_path / "a.zip").write_bytes(data)
        result = outcome(tmp_path / "a.zip")
        if isinstance(result, str):
            assert "\n" not in result
        else:
            np.testing.assert_array_equal(result.array, voxels)


def test_a_zip_that_is_not_there(tmp_path):
    refused(tmp_path / "a.zip", "cannot be read: No such file")


@pytest.mark.skipif(os.name == "nt", reason="names of Windows hold no line breaks")
def test_a_name_with_a_line_break_stays_on_one_line(tmp_path):
    (tmp_path / "a\nb.nii").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / "a\nb.nii")
    assert "\n" not in str(caught.value)
