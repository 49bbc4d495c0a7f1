"""Reading tables, folders and files, and splitting without leakage."""

import io
import json

import pytest

from omniform.errors import ConfigError, DataError
from omniform_codegen.scanning.config import ScanConfig
from omniform_codegen.scanning.data import read_file, read_snippets, scanned, source_files, types_of
from omniform_codegen.scanning.snippets import Snippet, Snippets
from omniform_codegen.scanning.splitting import split_snippets


def table(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n", encoding="utf-8")
    return path


def test_a_table_of_json_lines_is_read(tmp_path):
    labels = ["CWE-089", 89, "cwe_89", "safe", None, 0, ""]
    rows = [{"code": f"x = {i}\né", "label": label, "group": f"g{i}"} for i, label in enumerate(labels)]
    rows.append({"code": "y", "cwe": "CWE-78"})
    found = read_snippets(table(tmp_path / "a.jsonl", rows), ScanConfig())
    assert [item.label for item in found.items] == ["CWE-89"] * 3 + ["safe"] * 4 + ["CWE-78"]
    assert found.items[1].code == "x = 1\né".encode()
    assert types_of(found) == ("CWE-78", "CWE-89")


def test_a_folder_of_types_is_read(tmp_path):
    for folder in ("CWE-78", "safe"):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "deep" / "one.py").write_bytes(b"os.system(x")
    found = read_snippets(tmp_path, ScanConfig())
    assert [(i.label, i.name, i.group) for i in found.items] == [
        ("CWE-78", "CWE-78/deep/one.py", "one"), ("safe", "safe/deep/one.py", "one"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"label": "safe"}], "line 1: .*'code'"),
        ([{"code": "x", "label": "bad"}], "such as CWE-89"),
        ([{"code": "x"}], "has none"),
        ([{"code": "x", "label": "safe", "part": "dev"}], "part"),
    ],
)
def test_what_is_broken_is_refused_in_one_line(tmp_path, rows, words):
    with pytest.raises(DataError, match=words) as caught:
        read_snippets(table(tmp_path / "a.jsonl", rows), ScanConfig())
    assert "\n" not in str(caught.value)


def test_other_mistakes_are_refused(tmp_path):
    (tmp_path / "b.jsonl").write_text("{\n")
    with pytest.raises(DataError, match="expected JSON"):
        read_snippets(tmp_path / "b.jsonl", ScanConfig())
    with pytest.raises(DataError, match="type folders"):
        read_snippets(tmp_path / "nothing", ScanConfig())
    with pytest.raises(DataError, match="got the labels"):
        types_of(Snippets((Snippet(b"x", "safe"),)))
    rows = table(tmp_path / "c.jsonl", [{"code": "x", "label": "CWE-99"}])
    with pytest.raises(DataError, match="CWE-99"):
        read_snippets(rows, ScanConfig(types="CWE-89"))
    for options in (
        {"split": "1,2"},
        {"snippets": 3},
        {"dropout": 1.0},
        {"metric": "x"},
        {"types": "a,a"},
        {"types": ""},
    ):
        with pytest.raises(ConfigError):
            ScanConfig(**options)


def test_groups_are_dealt_as_wholes_and_types_to_every_part():
    items = [
        Snippet(b"%d" % n, label, f"{label}-{n // 4}") for label in ("CWE-78", "CWE-89", "safe") for n in range(120)
    ]
    splits = split_snippets(Snippets(tuple(items)), ScanConfig(split="0.6,0.2,0.2"))
    parts = [splits.train, splits.validation, splits.test]
    assert sum(len(part) for part in parts) == 360
    assert [len(part) / 360 for part in parts] == pytest.approx([0.6, 0.2, 0.2], abs=0.02)
    groups = [{item.group for item in part.items} for part in parts]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    for part in parts:
        assert len({item.label for item in part.items}) == 3


def test_named_parts_stay_and_leakage_is_refused():
    kinds = [(label, part) for part in ("train", "validation", "test") for label in ("CWE-89", "safe")]
    items = [Snippet(b"x", label, f"{part}{label}", "", part) for label, part in kinds]
    splits = split_snippets(Snippets(tuple(items)), ScanConfig())
    assert [item.part for item in splits.test.items] == ["test", "test"]
    leaking = [Snippet(b"x", label, "one", "", part) for label, part in kinds]
    with pytest.raises(DataError, match="two parts"):
        split_snippets(Snippets(tuple(leaking)), ScanConfig())
    with pytest.raises(DataError, match="every snippet or for none"):
        split_snippets(Snippets((*items, Snippet(b"y", "safe"))), ScanConfig())
    with pytest.raises(DataError, match="validation part"):
        split_snippets(Snippets(tuple(i for i in items if i.part != "validation")), ScanConfig())


def test_files_folders_and_standard_input_are_scanned(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    for name in ("b.py", "a.py", "c.txt", ".git/d.py"):
        (tmp_path / name).write_bytes(b"x = 1\ny = 2\n")
    assert [name for name, _ in source_files(tmp_path)] == [str(tmp_path / "a.py"), str(tmp_path / "b.py")]
    assert len(scanned(tmp_path, ScanConfig())) == 4
    assert len(scanned(tmp_path / "c.txt", ScanConfig())) == 2
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"z")))
    assert list(source_files("-")) == [("-", b"z")]
    with pytest.raises(DataError, match="nowhere"):
        list(source_files(tmp_path / "nowhere"))
    (tmp_path / "empty.py").write_bytes(b"# nothing\n")
    with pytest.raises(DataError, match="statement"):
        scanned(tmp_path / "empty.py", ScanConfig())


def test_each_statement_of_a_file_ends_a_snippet_of_bounded_size():
    code = b"".join(b"def f%d(a):\n    return g(\n        a)\n" % n for n in range(300))
    items = read_file("a.py", code)
    assert len(items) == 600
    assert (items[3].region.line, items[3].region.column, items[3].region.end_line) == (5, 5, 6)
    assert items[3].code == code[: len(items[3].code)]
    assert max(len(item.code) for item in items) <= 2048 + 40
    assert all(item.code.endswith((b"):", b"a)")) for item in items)
    assert all(item.code.startswith((b"def", b"    return")) for item in items)
