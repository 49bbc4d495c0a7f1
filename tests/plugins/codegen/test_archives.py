"""JSON lines and ZIP archives are read within limits, or refused in one line."""

import gzip
import json
import zipfile

import pytest

from omniform.errors import DataError
from omniform_codegen import archives
from omniform_codegen.archives import is_lines, is_zip, read_lines, read_zip
from omniform_codegen.config import CompleteConfig
from omniform_codegen.filters import LARGEST

CONFIG = CompleteConfig()


def lines(path, *records):
    text = "\n".join(json.dumps(record) for record in records).encode() + b"\n\n"
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def pack(path, **entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def always(name):
    return True


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_lines(tmp_path, name):
    path = lines(
        tmp_path / name,
        {"content": "x = 1\n", "path": "pkg/a.py", "repo": "me/one", "licence": "MIT"},
        {"content": "<reponame>b/c<gh_stars>1-10\ny", "max_stars_repo_path": "/b.py", "max_stars_repo_name": "b/c",
         "max_stars_repo_licenses": ["MIT", "ISC"]},
        {"text": "ü\ud800", "path": "pkg/c.py"},
        {"code": "int x;", "path": "c.c"},
        {"content": "z"},
    )  # fmt: skip
    read = list(read_lines(path, CONFIG))
    assert is_lines(path)
    assert not is_zip(path)
    assert [(one.file.path, one.file.content, one.file.group, one.licence) for one in read] == [
        ("me/one/pkg/a.py", b"x = 1\n", "me/one", "(MIT)"),
        ("b/c/b.py", b"y", "b/c", "(MIT) AND (ISC)"),
        ("pkg/c.py", "ü".encode() + b"\xed\xa0\x80", "pkg", None),
        ("00000005", b"z", "00000005", None),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 1 is no JSON"),
        ("[1]", "line 1 has no text"),
        ('{"path": "a.py"}', "line 1 has no text"),
        ('{"content": 1}', "line 1 has no text"),
        ("[" * 100_000, "line 1 is no JSON"),
    ],
)
def test_bad_lines(tmp_path, line, words):
    path = tmp_path / "a.jsonl"
    path.write_text(line)
    with pytest.raises(DataError, match=words) as caught:
        list(read_lines(path, CONFIG))
    assert "\n" not in str(caught.value)


def test_damaged_and_overlong_lines(tmp_path, monkeypatch):
    path = lines(tmp_path / "a.jsonl.gz", {"content": "x" * 1000})
    monkeypatch.setattr(archives, "_LONGEST", 500)
    with pytest.raises(DataError, match="a line of over 500 bytes"):
        list(read_lines(path, CONFIG))
    monkeypatch.undo()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        list(read_lines(path, CONFIG))
    path.write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read"):
        list(read_lines(path, CONFIG))


def test_zip(tmp_path):
    entries = {
        "repo/b.py": b"b",
        "repo/a.py": b"a\r\n\xff",
        "repo/.git/x.py": b"",
        "repo/node_modules/x.py": b"",
        "n.txt": b"",
    }
    path = pack(tmp_path / "a.zip", **entries)
    link = zipfile.ZipInfo("repo/link.py")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    read = list(read_zip(path, lambda name: name.endswith(".py")))
    assert read == [("repo/a.py", b"a\r\n\xff"), ("repo/b.py", b"b")]
    assert is_zip(path)


def test_a_bomb_is_read_in_part(tmp_path):
    path = pack(tmp_path / "a.zip", **{"a.py": b"\n" * 30_000_000})
    assert path.stat().st_size < 50_000
    ((_, content),) = read_zip(path, always)
    assert len(content) == LARGEST + 1


@pytest.mark.parametrize("name", ["../a.py", "a/../../b.py", "/etc/a.py", "..\\a.py", "C:\\a.py", "a/.."])
def test_entries_that_point_out_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="points out of it"):
        list(read_zip(pack(tmp_path / "a.zip", **{"good.py": b"", name: b""}), always))


def test_bad_archives(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK no archive")
    with pytest.raises(DataError, match="cannot be read"):
        list(read_zip(path, always))
    pack(path, **{"a.py": b"abc" * 1000})
    damaged = bytearray(path.read_bytes())
    damaged[40:48] = b"\xff" * 8
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="cannot be read"):
        list(read_zip(path, always))
    pack(path, **{"a.py": b"a"})
    locked = path.read_bytes().replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")
    path.write_bytes(locked.replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01"))
    with pytest.raises(DataError, match="without a password"):
        list(read_zip(path, always))
    monkeypatch.setattr(archives, "_MOST_ENTRIES", 1)
    with pytest.raises(DataError, match="2 entries; expected at most 1"):
        list(read_zip(pack(path, **{"a.py": b"", "b.py": b""}), always))
