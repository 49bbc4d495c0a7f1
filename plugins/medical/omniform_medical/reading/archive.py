"""Zip archives, unpacked so that nothing in them can reach beyond a fresh folder or fill the disk."""

from __future__ import annotations

import io
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from omniform_medical.reading.formats import BESIDE_ENDINGS, ending_of
from omniform_medical.reading.stored import refusal

__all__ = ["unpacked"]

MOST_MEMBERS = 20_000
MOST_BYTES = 8 * 2**30  # of all members together, unpacked
MOST_RATIO = 200  # unpacked over packed bytes of the archive ...
FREE_BYTES = 64 * 2**20  # ... where it unpacks to more than this

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


@contextmanager
def unpacked(source: Path | bytes | BinaryIO, name: str) -> Iterator[Path]:
    """Yield a new folder with the archive's files, numbered in its order; it is deleted afterwards.

    Names within the archive are not used, but for known endings, and not told, because PACS name folders after people.

    Args:
        source: the archive as a file, its bytes, or an open binary file.
        name: what messages call it.

    Raises:
        DataError: it is no zip archive, broken or encrypted; it holds links, archives, more than 20 000 files or 8 GiB,
            or unpacks to more than 64 MiB and 200 times its size; or a member's name leads out of the folder.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    with TemporaryDirectory(prefix="omniform-") as folder:
        try:
            with zipfile.ZipFile(stream) as archive:
                _extract(archive, Path(folder), name)
        except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeError, ValueError):
            raise refusal(name, "is truncated, corrupt or no zip archive; copy it anew") from None
        except (NotImplementedError, RuntimeError):
            raise refusal(name, "is packed by a method other than DEFLATE; pack it as a plain zip") from None
        yield Path(folder)


def _extract(archive: zipfile.ZipFile, folder: Path, name: str) -> None:
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise refusal(name, f"holds {len(members)} files, expected at most {MOST_MEMBERS}; pack one series alone")
    for number, member in enumerate(members, start=1):
        _check(member, f"its file {number} of {len(members)}", name)
    limit = _limit(archive)
    total = sum(member.file_size for member in members)
    if total > limit:
        raise refusal(
            name, f"unpacks to {total / 2**20:.0f} MiB, expected at most {limit / 2**20:.0f} MiB; unpack it yourself"
        )
    for number, member in enumerate(members, start=1):
        if not member.is_dir() and not _is_beside(member.filename):
            target = folder / f"{number:05d}{ending_of(member.filename)}"
            with archive.open(member) as packed, target.open("xb") as file:
                shutil.copyfileobj(packed, file)  # zipfile stops where the announced size is reached


def _limit(archive: zipfile.ZipFile) -> int:
    """Return how many bytes may be unpacked."""
    assert archive.fp is not None
    packed = archive.fp.seek(0, io.SEEK_END)
    return min(MOST_BYTES, max(FREE_BYTES, MOST_RATIO * packed))


def _check(member: zipfile.ZipInfo, what: str, name: str) -> None:
    """Refuse a member for what the archive's directory says of it."""
    path = member.orig_filename.replace("\\", "/")
    if path.startswith("/") or ".." in path.split("/") or path[1:2] == ":" or "\0" in path:
        raise refusal(name, f"{what} would be written outside of the folder; do not trust this archive")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refusal(name, f"{what} is a link or device, expected plain files; pack the files themselves")
    if member.flag_bits & 1:
        raise refusal(name, f"{what} is encrypted; unpack it first")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refusal(name, f"{what} is packed by a method other than DEFLATE; pack it as a plain zip")
    lower = path.lower()
    if lower.endswith(_ARCHIVES) and not lower.endswith(".nii.gz"):
        raise refusal(name, f"{what} is an archive itself; unpack it first")


def _is_beside(path: str) -> bool:
    """Say whether a member is a note beside images, or what desktops leave behind (`.DS_Store`, `__MACOSX/...`)."""
    parts = path.lower().replace("\\", "/").split("/")
    if parts[0] == "__macosx" or parts[-1].startswith(".") or parts[-1] == "thumbs.db":
        return True
    return parts[-1].endswith(BESIDE_ENDINGS) and not ending_of(parts[-1])
