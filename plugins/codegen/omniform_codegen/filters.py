"""Which files are worth learning from: not empty, huge, binary, generated, minified, secret, of another licence, twice.

The bounds on lines are those of StarCoder's data (arXiv:2305.06161), that on copies is in `duplicates`.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from omniform.configuration import split_names
from omniform.errors import DataError
from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import Corpus, SourceFile
from omniform_codegen.duplicates import find_copies
from omniform_codegen.licences import permits
from omniform_codegen.secrets import Finding, find, redact

__all__ = ["LARGEST", "Found", "fault", "licence_fault", "secrets_of", "sift"]

LARGEST = 1_000_000
"""The most bytes of a file that is kept."""

_LONGEST_LINE, _LONGEST_MEAN = 1000, 100
_HEAD_LINES = 10
_CONTROL = bytes({*range(32)} - {*b"\t\n\v\f\r\x1b\b"}) + b"\x7f"
_GENERATED = re.compile(
    rb"(?i)@generated\b|auto-?generated\b|(?:automatically|machine)[ -]generated\b|do(?: not|n't) (?:edit|modify)\b"
    rb"|^\W*(?:this |the )?(?:code|file|module|script) (?:(?:is|was|has been) )?generated (?:by|from|with|using)\b"
    rb"|^\W*(?-i:G)enerated (?:by|from|with|using)\b"
    rb"|generated from .{1,80} (?:by|with|using)\b",
    re.MULTILINE,
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A file that was found.

    Attributes:
        licence: its SPDX expression, where it is known.
    """

    file: SourceFile
    licence: str | None = None


def fault(content: bytes, config: CompleteConfig) -> str | None:
    """Return why a file is not worth learning from, by its content alone; `None` if it is."""
    if not content.strip():
        return "empty"
    if len(content) > LARGEST:
        return "too large"
    if b"\0" in content or len(content) - len(content.translate(None, _CONTROL)) > len(content) / 20:
        return "binary"
    if config.generated:
        return None
    if _GENERATED.search(b"\n".join(content.split(b"\n", _HEAD_LINES)[:_HEAD_LINES])):
        return "generated"
    lines = content.splitlines()
    longest = max(map(len, lines))
    return "minified" if longest > _LONGEST_LINE or len(content) > max(2000, _LONGEST_MEAN * len(lines)) else None


def licence_fault(licence: str | None, config: CompleteConfig) -> str | None:
    """Return why a file's licence rules it out; `None` if it does not."""
    allowed = frozenset(filter(None, split_names(config.licences)))
    if not allowed or permits(licence, allowed):
        return None
    return "of no known licence" if licence is None else "of another licence"


def secrets_of(file: SourceFile, config: CompleteConfig) -> tuple[Finding, ...]:
    """Return the secrets of a file, none where they are to be kept.

    Raises:
        DataError: there are some, and they are to be refused; the line says where, never what.
    """
    findings = () if config.secrets == "keep" else find(file.content)
    if findings and config.secrets == "refuse":
        kind, line = findings[0].kind, findings[0].line
        more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
        raise DataError(
            f"{file.path!r} holds what looks like a {kind} in line {line}{more}; "
            "remove it, or take --secrets redact or drop"
        )
    return findings


def sift(found: Sequence[Found], config: CompleteConfig) -> Corpus:
    """Return the files that pass, in order of their paths; how many do not, and why, is logged once.

    Raises:
        DataError: none passes, or secrets are refused.
    """
    reasons: Counter[str] = Counter()
    kept: list[SourceFile] = []
    redacted: Counter[str] = Counter()
    for one in sorted(found, key=lambda one: one.file.path):
        file = one.file
        reason = fault(file.content, config) or licence_fault(one.licence, config)
        findings = () if reason else secrets_of(file, config)
        if findings and config.secrets == "drop":
            reason = "with secrets"
        elif findings:
            redacted.update(finding.kind for finding in findings)
            file = replace(file, content=redact(file.content, findings))
        if reason:
            reasons[reason] += 1
        else:
            kept.append(file)
    copies = find_copies([file.content for file in kept])
    reasons += Counter({"copied": len(copies)})
    if len(copies) == len(kept):
        raise DataError(f"none of {len(found)} files is left: {_listed(reasons)}; give others, or relax the filters")
    _report(len(found), reasons, redacted)
    return Corpus(tuple(file for place, file in enumerate(kept) if place not in copies))


def _report(total: int, reasons: Counter[str], redacted: Counter[str]) -> None:
    if reasons:
        _log.warning("left out %d of %d files: %s", reasons.total(), total, _listed(reasons))
    if redacted:
        _log.warning("redacted what looks like secrets: %s", _listed(redacted))


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
