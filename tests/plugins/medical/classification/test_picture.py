"""Picture files: what is read of them, and what is refused in one line."""

import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from omniform.errors import DataError
from omniform_medical.classification.picture import read_header, read_picture, resized

GRID = np.arange(96, dtype=np.uint8).reshape(8, 12) * 2


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg"])
def test_grey_and_colour_of_every_format(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(GRID).save(path, **({"quality": 100} if suffix == ".jpg" else {}))
    assert read_header(path).grey
    close = 3 if suffix == ".jpg" else 0
    assert np.abs(read_picture(path, size=(8, 12), channels=1)[..., 0].astype(int) - GRID).max() <= close
    assert read_picture(path, size=(8, 12), channels=3).shape == (8, 12, 3)
    Image.fromarray(np.stack([GRID, GRID // 2, GRID // 4], axis=2)).save(path)
    assert not read_header(path).grey


def test_modes_become_grey_or_colour(tmp_path):
    path = tmp_path / "a.png"
    picture = Image.fromarray(GRID)
    for mode in ("1", "LA", "P", "RGBA"):
        picture.convert(mode).save(path)
        assert read_picture(path, size=(8, 12), channels=3).dtype == np.uint8
    picture.convert("CMYK").save(tmp_path / "a.tif")
    assert read_picture(tmp_path / "a.tif", size=(8, 12), channels=3).shape == (8, 12, 3)


def test_16_bits_are_kept(tmp_path):
    deep = GRID.astype(np.uint16) * 300
    for name in ("a.png", "a.tif"):
        Image.fromarray(deep).save(tmp_path / name)
        assert read_header(tmp_path / name).deep
        np.testing.assert_array_equal(read_picture(tmp_path / name, size=(8, 12), channels=1)[..., 0], deep)
    broken = GRID.astype(np.float32)
    broken[2, 3] = np.nan
    Image.fromarray(broken).save(tmp_path / "b.tif")
    with pytest.raises(DataError, match="not finite"):
        read_picture(tmp_path / "b.tif", size=(8, 12), channels=1)


def test_orientation_is_applied_and_the_rest_of_exif_dropped(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "Jane Doe"  # turned by a quarter; the description
    Image.fromarray(GRID).save(tmp_path / "a.png", exif=exif)
    header = read_header(tmp_path / "a.png")
    assert (header.height, header.width) == (12, 8)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png", size=(12, 8), channels=1)[..., 0], GRID[::-1].T)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    for side in (20_000, 2**31 - 1):
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
        with pytest.raises(DataError):
            read_header(tmp_path / "a.png")


def test_frames_other_formats_and_absent_files_are_refused(tmp_path):
    picture = Image.fromarray(GRID)
    picture.save(tmp_path / "a.tif", save_all=True, append_images=[picture])
    picture.save(tmp_path / "b.gif")
    (tmp_path / "b.gif").rename(tmp_path / "b.png")
    (tmp_path / "c.png").write_text("no picture")
    for name, words in (("a.tif", "several frames"), ("b.png", "cannot be read"), ("c.png", "cannot be read")):
        with pytest.raises(DataError, match=words) as caught:
            read_header(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(DataError, match="no file"):
        read_header(tmp_path / "absent.png")


@given(
    cut=st.floats(0, 1), place=st.floats(0, 1), value=st.integers(0, 255), suffix=st.sampled_from(["png", "jpg", "tif"])
)
def test_broken_files_are_read_or_refused(tmp_path_factory, cut, place, value, suffix):
    path = tmp_path_factory.getbasetemp() / f"fuzz.{suffix}"
    Image.fromarray(GRID).save(path)
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] = value
    path.write_bytes(content[: int(cut * len(content)) + 1])
    with suppress(DataError):  # anything else would be a fault of ours
        assert read_picture(path, size=(8, 12), channels=1).shape == (8, 12, 1)


def test_resizing_averages_what_gets_smaller():
    fine = np.kron(GRID[:4, :4].astype(np.float32), np.ones((16, 16), np.float32))[..., None]
    np.testing.assert_allclose(resized(fine, (8, 8)).mean(), fine.mean(), rtol=0.01)
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None]
    assert np.abs(resized(board, (8, 8)).astype(int) - 127).max() <= 2
    assert resized(board, (64, 64)) is not None
