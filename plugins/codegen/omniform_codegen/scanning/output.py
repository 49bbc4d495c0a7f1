"""Findings as SARIF 2.1.0, which code hosts and editors read, and predictions as a table."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from omniform.classification import Predictions
from omniform.training.checkpoint import replace_file
from omniform_codegen.scanning.findings import Finding, findings_of
from omniform_codegen.scanning.metrics import THRESHOLD, weak_probabilities
from omniform_codegen.scanning.snippets import Snippets
from omniform_codegen.scanning.weaknesses import describe

__all__ = ["artifact_uri", "sarif", "write_predictions", "write_sarif"]

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_CWE = {"name": "CWE", "index": 0}


def sarif(findings: Sequence[Finding], *, root: Path | None = None) -> dict[str, Any]:
    """Return a SARIF log of one run.

    Args:
        root: the folder that addresses of files are relative to; the current one by default. A file elsewhere gets its
            whole address.
    """
    types = sorted({finding.cwe for finding in findings}, key=lambda cwe: int(cwe[4:]))
    driver = {
        "name": "omniform codegen scan",
        **_own_version(),
        "rules": [_rule(cwe) for cwe in types],
        "supportedTaxonomies": [_CWE],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "taxonomies": [_taxonomy(types)],
        "results": [_result(finding, types.index(finding.cwe), root or Path.cwd()) for finding in findings],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def write_sarif(findings: Sequence[Finding], path: Path) -> None:
    """Write findings as SARIF: the whole file or none of it."""
    replace_file(path, (json.dumps(sarif(findings), indent=2, allow_nan=False) + "\n").encode())


def write_predictions(predictions: Predictions[Snippets], path: Path) -> None:
    """Write the findings at probability 0.5 as SARIF to a `.sarif`; else a CSV row for each snippet."""
    if path.suffix == ".sarif":
        write_sarif(findings_of(predictions, THRESHOLD), path)
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "line", "column", "weak", *(f"probability_{name}" for name in predictions.classes)])
    rows = zip(predictions.items.items, weak_probabilities(predictions), predictions.probabilities, strict=True)
    for item, weak, chances in rows:
        place = ("", "") if item.region is None else (item.region.line, item.region.column)
        writer.writerow([item.name, *place, float(weak), *chances.tolist()])
    replace_file(path, text.getvalue().encode("utf-8", "surrogateescape"))


def artifact_uri(file: str, root: Path) -> str:
    """Return the address of a file, percent-encoded: relative to `root` if it lies below, else whole."""
    if file == "-":
        return "stdin"
    whole = Path(os.path.normpath(root / file))
    below = whole.is_relative_to(root)
    path = whole.relative_to(root) if below else whole
    return ("" if below else "file://") + quote(os.fsencode(path.as_posix()))


def _rule(cwe: str) -> dict[str, Any]:
    kind = describe(cwe)
    return {
        "id": cwe,
        "name": "".join(word.capitalize() for word in kind.name.replace("-", " ").split()),
        "shortDescription": {"text": kind.name[:1].upper() + kind.name[1:]},
        "fullDescription": {"text": kind.message},
        "help": {"text": kind.remedy},
        "helpUri": kind.address,
        "defaultConfiguration": {"level": "warning"},
        "relationships": [{"target": {"id": kind.number, "toolComponent": _CWE}, "kinds": ["superset"]}],
        "properties": {"tags": ["security", f"external/cwe/cwe-{kind.number.zfill(3)}"]},
    }


def _taxonomy(types: Sequence[str]) -> dict[str, Any]:
    return {
        "name": "CWE",
        "organization": "MITRE",
        "informationUri": "https://cwe.mitre.org/",
        "shortDescription": {"text": "The Common Weakness Enumeration"},
        "taxa": [
            {"id": kind.number, "name": kind.name, "helpUri": kind.address} for kind in (describe(cwe) for cwe in types)
        ],
    }


def _result(finding: Finding, rule: int, root: Path) -> dict[str, Any]:
    region = finding.region
    result = {
        "ruleId": finding.cwe,
        "ruleIndex": rule,
        "level": "warning",
        "message": {"text": f"{finding.message} {finding.remedy}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": artifact_uri(finding.file, root)},
                    "region": {
                        "startLine": region.line,
                        "startColumn": region.column,
                        "endLine": region.end_line,
                        "endColumn": region.end_column,
                    },
                }
            }
        ],
    }
    return result if finding.confidence is None else {**result, "rank": round(100 * finding.confidence, 2)}


def _own_version() -> dict[str, str]:
    try:
        return {"version": version("omniform")}
    except PackageNotFoundError:  # run from a source tree that was never installed
        return {}
