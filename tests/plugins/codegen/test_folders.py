"""Source code is told from what was installed, hidden, built or linked."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniform.errors import ConfigError, DataError
from omniform_codegen.config import CompleteConfig
from omniform_codegen.folders import group_of, has_suffix, only_sources, suffixes_of, walk


def plant(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)


def test_what_is_no_source_is_left_out(tmp_path):
    sources = ["a.py", "build/kept.py", "pkg/b.py", "pkg/z/c.py"]  # no project's file stands beside this build
    others = [
        ".hidden.py",
        ".git/x.py",
        "node_modules/x.py",
        "pkg/__pycache__/x.py",
        "x.egg-info/x.py",
        "lib/site-packages/x.py",
    ]
    others += [
        "pkg2/build/x.py",
        "pkg2/dist/x.py",
        "mine/pyvenv.cfg",
        "mine/bin/x.py",
        "store/CACHEDIR.TAG",
        "store/x.py",
    ]
    plant(tmp_path, *sources, *others, "pkg2/setup.py")
    found = [path for path, _ in walk(tmp_path)]
    assert found == sorted([*sources, "pkg2/setup.py"])
    assert [path for path, _ in walk(tmp_path, besides=("z", "pkg2"))] == ["a.py", "build/kept.py", "pkg/b.py"]
    assert only_sources([*others, "pkg2/setup.py", *sources]) == found


def test_links_are_not_followed(tmp_path):
    plant(tmp_path, "inside/a.py", "outside/b.py")
    (tmp_path / "inside/folder").symlink_to(tmp_path / "outside")
    (tmp_path / "inside/file.py").symlink_to(tmp_path / "outside/b.py")
    (tmp_path / "inside/circle").symlink_to(tmp_path / "inside")
    os.mkfifo(tmp_path / "inside/pipe.py")
    assert [path for path, _ in walk(tmp_path / "inside")] == ["a.py"]


def test_names_of_any_bytes(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.py")).write_text("x")
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    ((path, file),) = walk(tmp_path)
    assert path == "caf\\xe9.py"
    assert file.read_text() == "x"


def test_a_folder_that_cannot_be_listed(tmp_path):
    with pytest.raises(DataError, match="cannot be listed"):
        list(walk(tmp_path / "absent"))


NAMES = st.sampled_from(["a", "b.py", ".c", "build", "setup.py", "pyvenv.cfg", "node_modules", "CACHEDIR.TAG"])


@given(st.sets(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=8))
def test_a_list_of_paths_is_judged_as_a_folder_is(tmp_path_factory, paths):
    files = {path for path in paths if not any(other.startswith(f"{path}/") for other in paths)}
    root = tmp_path_factory.mktemp("tree")
    plant(root, *files)
    assert [path for path, _ in walk(root)] == only_sources(files)


def test_groups():
    assert [group_of("a/b/c.py", depth) for depth in range(4)] == ["a/b/c.py", "a", "a/b", "a/b/c.py"]
    assert group_of("c.py", 1) == "c.py"


def test_suffixes():
    assert suffixes_of(CompleteConfig(suffixes=".py, .pyi")) == (".py", ".pyi")
    assert has_suffix("A/B.PY", (".c", ".py"))
    assert not has_suffix("a.pyc", (".py",))
    with pytest.raises(ConfigError, match="expected suffixes"):
        suffixes_of(CompleteConfig(suffixes=" ,"))
