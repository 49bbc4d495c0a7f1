"""Files and folders that come whole or not at all."""

import pytest

from omniform.errors import ConfigError
from omniform_medical.output.files import replaced, replaced_folder


def test_a_file_takes_the_place_of_another(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for text in ("one", "two"):
        with replaced(path) as part:
            part.write_text(text)
            assert not path.exists() or path.read_text() == "one"
        assert path.read_text() == text
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_a_fault_leaves_what_was_there(tmp_path):
    (tmp_path / "kept.txt").write_text("kept")
    for write in (_half_a_file, _half_a_folder):
        with pytest.raises(RuntimeError):
            write(tmp_path)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("kept.txt", "kept")]


def _half_a_file(folder):
    with replaced(folder / "kept.txt") as part:
        part.write_text("half")
        raise RuntimeError


def _half_a_folder(folder):
    with replaced_folder(folder / "new") as part:
        (part / "a.txt").write_text("half")
        raise RuntimeError


def test_a_folder_keeps_what_else_is_in_it(tmp_path):
    folder = tmp_path / "folder"
    for name in ("a", "b"):
        with replaced_folder(folder) as part:
            (part / name).write_text(name)
    assert sorted(file.name for file in folder.iterdir()) == ["a", "b"]
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(ConfigError, match="'a' is a file"), replaced_folder(tmp_path / "a"):
        pass
