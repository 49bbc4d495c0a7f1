"""SARIF that readers take: what the schema requires, places, and addresses of files with odd names."""

import csv
import json
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniform.classification import Predictions
from omniform_codegen.scanning.data import read_file
from omniform_codegen.scanning.findings import distinct, finding, findings_of
from omniform_codegen.scanning.output import artifact_uri, sarif, write_predictions
from omniform_codegen.scanning.snippets import Snippet, Snippets
from omniform_codegen.scanning.statements import Region


def check(log):
    """Check what the schema of SARIF 2.1.0 requires of the objects that stand in this log."""
    json.dumps(log, allow_nan=False)
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"]
    assert len({rule["id"] for rule in driver["rules"]}) == len(driver["rules"])
    taxa = {taxon["id"] for taxon in run["taxonomies"][0]["taxa"]}
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
        assert rule["help"]["text"]
        assert urlsplit(rule["helpUri"]).scheme == "https"
        assert rule["relationships"][0]["target"]["id"] in taxa
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert 0 <= result.get("rank", 0) <= 100
        (place,) = (location["physicalLocation"] for location in result["locations"])
        region = place["region"]
        assert min(region.values()) >= 1
        assert (region["endLine"], region["endColumn"]) >= (region["startLine"], region["startColumn"])
        assert place["artifactLocation"]["uri"].isascii()
    return run


def some(name="a.py", line=3, cwe="CWE-89", confidence=0.75):
    return finding(Snippet(b"", name=name, region=Region(line, 5, line + 1, 2)), cwe, confidence)


def test_a_log_holds_findings_rules_and_places():
    run = check(sarif([some(), some(line=9, cwe="CWE-1336", confidence=None), some(cwe="CWE-99")]))
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["CWE-89", "CWE-99", "CWE-1336"]
    assert run["results"][0]["rank"] == 75
    assert "rank" not in run["results"][1]
    assert run["results"][0]["locations"][0]["physicalLocation"]["region"] == {
        "startLine": 3, "startColumn": 5, "endLine": 4, "endColumn": 2,
    }  # fmt: skip
    assert check(sarif([]))["results"] == []


@given(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=12))
def test_any_file_name_becomes_a_relative_address(name):
    if name in (".", "..", "-"):
        return
    check(sarif([some(f"sub/{name}")], root=Path("/root")))
    address = artifact_uri(f"sub/{name}", Path("/root"))
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert unquote_to_bytes(parts.path) == f"sub/{name}".encode()


def test_addresses_elsewhere_are_whole():
    assert artifact_uri("/other/a b.py", Path("/root")) == "file:///other/a%20b.py"
    assert artifact_uri("../a.py", Path("/root/in")) == "file:///root/a.py"
    assert artifact_uri("/root/in/./c:d.py", Path("/root/in")) == "c%3Ad.py"
    assert artifact_uri("-", Path("/root")) == "stdin"


def test_one_finding_a_line_and_type():
    found = distinct([some(confidence=0.6), some(confidence=0.9), some(cwe="CWE-78"), some(line=4), some("b.py")])
    assert [(f.file, f.line, f.cwe, f.confidence) for f in found] == [
        ("a.py", 3, "CWE-89", 0.9),
        ("a.py", 3, "CWE-78", 0.75),
        ("a.py", 4, "CWE-89", 0.75),
        ("b.py", 3, "CWE-89", 0.75),
    ]


@pytest.fixture
def predictions():
    items = Snippets(tuple(read_file("dir/é, b.py", b"x = 1\ny = eval(z)\n")))
    return Predictions(np.array([[0.9, 0.05, 0.05], [0.2, 0.1, 0.7]]), ("safe", "CWE-78", "CWE-95"), items)


def test_findings_are_the_likeliest_types_above_the_threshold(predictions):
    (found,) = findings_of(predictions, 0.5)
    assert (found.cwe, found.line, found.column, found.confidence) == ("CWE-95", 2, 1, pytest.approx(0.8))
    assert found.name == "code injection"
    assert found.remedy
    assert len(findings_of(predictions, 0.05)) == 2


def test_predictions_are_written_as_sarif_or_as_a_table(predictions, tmp_path):
    write_predictions(predictions, tmp_path / "a.sarif")
    assert len(check(json.loads((tmp_path / "a.sarif").read_text()))["results"]) == 1
    write_predictions(predictions, tmp_path / "a.csv")
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["line"]) for row in rows] == [("dir/é, b.py", "1"), ("dir/é, b.py", "2")]
    assert float(rows[1]["weak"]) == pytest.approx(0.8)
    assert float(rows[1]["probability_CWE-95"]) == 0.7
