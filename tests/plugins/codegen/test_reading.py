"""Folders, files, archives and the sample become corpora, or are refused in one line."""

import gzip
import json
import os
import zipfile
from pathlib import Path

import pytest

from omniform.errors import DataError, OmniformError
from omniform_codegen import reading
from omniform_codegen.config import CompleteConfig
from omniform_codegen.reading import read_corpus, read_files

CONFIG = CompleteConfig()
MIT = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy\n"
    "The above copyright notice and this permission notice shall be included"
)
FILES = {
    "pkg/b.py": b"b = 2\r\n",
    "pkg/a.py": "ä = 1\n".encode("latin-1"),
    "top.py": b"top = 3\n",
    "other/deep/er/c.py": b"c = 4",
    "README.md": b"no code",
    ".venv/lib/d.py": b"d = 5",
}


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "project"


def contents(corpus):
    return {file.path: (file.content, file.group) for file in corpus.files}


def test_a_folder(folder):
    corpus = read_corpus(folder, CONFIG)
    assert [file.path for file in corpus.files] == ["other/deep/er/c.py", "pkg/a.py", "pkg/b.py", "top.py"]
    assert contents(corpus) == {
        "other/deep/er/c.py": (b"c = 4", "other"),
        "pkg/a.py": (FILES["pkg/a.py"], "pkg"),
        "pkg/b.py": (b"b = 2\r\n", "pkg"),
        "top.py": (b"top = 3\n", "top.py"),
    }
    assert read_corpus(str(folder), CONFIG).fingerprint() == corpus.fingerprint()
    assert [file.group for file in read_corpus(folder, CompleteConfig(group_depth=2)).files][:2] == [
        "other/deep",
        "pkg/a.py",
    ]
    assert len(read_corpus(folder, CompleteConfig(suffixes=".py,.md"))) == 5


def test_all_sources_give_the_same_files(folder, tmp_path):
    expected = contents(read_corpus(folder, CONFIG))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    assert contents(read_corpus(tmp_path / "a.zip", CONFIG)) == expected
    named = [folder / name for name in FILES if name.endswith(".py") and not name.startswith(".")]
    assert contents(read_corpus(named, CONFIG)) == expected
    records = [{"path": name, "content": content.decode("ascii", "ignore")} for name, content in FILES.items()]
    packed = gzip.compress("\n".join(map(json.dumps, records)).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(packed)
    assert set(contents(read_corpus(tmp_path / "a.jsonl.gz", CONFIG))) == {*expected, ".venv/lib/d.py"}


def test_one_file_whatever_its_end(folder):
    (file,) = read_corpus(folder / "README.md", CONFIG).files
    assert (file.path, file.content, file.group) == ("README.md", b"no code", "README.md")


def test_without_filters(folder):
    (folder / "copy.py").write_bytes(FILES["top.py"])
    (folder / "empty.py").write_bytes(b"")
    assert [one.file.path for one in read_files(folder, CONFIG)][:2] == ["copy.py", "empty.py"]
    assert len(read_files(folder, CONFIG)) == 6
    assert len(read_corpus(folder, CONFIG)) == 4


def test_licences_of_files_and_folders(folder):
    (folder / "pkg/LICENSE").write_text(MIT)
    (folder / "top.py").write_text("# SPDX-License-Identifier: ISC\n")
    known = {one.file.path: one.licence for one in read_files(folder, CompleteConfig(licences="MIT"))}
    assert known == {"other/deep/er/c.py": None, "pkg/a.py": "MIT", "pkg/b.py": "MIT", "top.py": "ISC"}
    corpus = read_corpus(folder, CompleteConfig(licences="MIT"))
    assert [file.path for file in corpus.files] == ["pkg/a.py", "pkg/b.py"]


def test_the_licence_of_the_repository_above(folder):
    (folder.parent / "LICENSE").write_text(MIT)
    config = CompleteConfig(licences="MIT")
    with pytest.raises(DataError, match="of no known licence"):
        read_corpus(folder, config)
    (folder.parent / ".git").mkdir()
    assert len(read_corpus(folder, config)) == 4


def test_what_cannot_be_read(folder, tmp_path, monkeypatch):
    (tmp_path / "void").mkdir()
    for source, config, words in (
        (tmp_path / "absent", CONFIG, "no file or folder 'absent'"),
        (tmp_path / "void", CONFIG, "no file in 'void' ends in .py; "),
        (folder, CompleteConfig(suffixes=".rs"), "no file in 'project' ends in .rs; .*--suffixes"),
        ([], CONFIG, "at least one path"),
        ([folder], CONFIG, "no file 'project'"),
    ):
        with pytest.raises(OmniformError, match=words) as caught:
            read_corpus(source, config)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(reading, "_MOST", 10)
    with pytest.raises(DataError, match="give a part"):
        read_corpus(folder, CONFIG)


def test_a_file_that_may_not_be_read(folder, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"'c.py' cannot be read: Permission denied; check its permissions"):
        read_corpus(folder, CONFIG)


def test_a_huge_file_is_not_read_whole(folder):
    with open(folder / "huge.py", "wb") as stream:
        os.truncate(stream.fileno(), 1 << 40)
    assert "huge.py" not in contents(read_corpus(folder, CONFIG))
