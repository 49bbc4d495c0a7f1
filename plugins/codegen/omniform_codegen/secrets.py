"""Keys, tokens and passwords that were left in source code: where they stand, and the same code without them.

The shapes are those that the services publish for scanning. A password has no shape: it is a quoted value, assigned to
a name that says so, which is long, mixed and no placeholder.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["WORD", "Finding", "find", "redact"]

WORD = b"REDACTED"
"""What stands for a secret that was taken out."""

_LEAST_BITS = 2.75  # entropy per byte of a password; English words of eight letters and more have about 2.7


@dataclass(frozen=True, slots=True)
class Finding:
    """A secret's place, never its value.

    Attributes:
        kind: what it looks like.
        start, stop: its bytes.
        line: the line where it begins, from 1.
    """

    kind: str
    start: int
    stop: int
    line: int


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a secret looks like: its first group, or all of it where there is none.

    Attributes:
        hints: one of these stands in every file that the pattern matches; they are looked for first as that is fast.
        folded: hints and pattern, in lower case, are held against the file in lower case.
        free: the value has no shape of its own and must be mixed enough.
    """

    kind: str
    hints: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    folded: bool = False
    free: bool = False


def _shape(kind: str, hints: str, pattern: str, *, folded: bool = False, free: bool = False) -> _Shape:
    return _Shape(kind, tuple(hints.encode().split()), re.compile(pattern.encode()), folded, free)


_KEY = r"(?:RSA |EC |DSA |OPENSSH |ENCRYPTED |PGP )?PRIVATE KEY(?: BLOCK)?-----"
_NAMES = (
    r"(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|apikey|access[_-]?key|auth[_-]?key|private[_-]?key"
    r"|client[_-]?key|encryption[_-]?key|signing[_-]?key|credentials?)"
)
_HINTS = (
    "passw passphrase pwd secret token api_key api-key apikey access auth private client encryption signing credential"
)

_SHAPES = (
    _shape(
        "private key",
        "PRIVATE",
        rf"-----BEGIN {_KEY}(?=(?s:.{{0,400}}?)[A-Za-z0-9+/]{{40}})(?s:.{{40,20000}}?)-----END {_KEY}",
    ),
    _shape("private key", "PRIVATE", rf"-----BEGIN {_KEY}(?:\\r|\\n|[\s\"'+#*/])+[A-Za-z0-9+/=]{{40,}}"),
    _shape("AWS key id", "AKIA ASIA ABIA ACCA", r"(?<![A-Za-z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])"),
    _shape(
        "AWS secret key",
        "aws",
        r"aws[\w.-]{0,24}[\"']?\s*(?:=>|:=|[=:,])\s*[\"']?([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
        folded=True,
        free=True,
    ),
    _shape("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", r"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{36,255}"),
    _shape("GitHub token", "github_pat_", r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    _shape("GitLab token", "glpat- gldt- glrt- glptt-", r"(?<![A-Za-z0-9])gl(?:pat|dt|rt|ptt)-[A-Za-z0-9_-]{20,}"),
    _shape("Slack token", "xox", r"(?<![A-Za-z0-9])xox[abeoprs]-(?:\d-)?[A-Za-z0-9]{8,}-[A-Za-z0-9-]{8,}"),
    _shape("Slack hook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows)/([A-Za-z0-9+/]{40,})"),
    _shape("Anthropic key", "sk-ant-", r"(?<![A-Za-z0-9])sk-ant-[A-Za-z0-9_-]{20,}"),
    _shape(
        "OpenAI key", "sk-", r"(?<![A-Za-z0-9_-])sk-(?:(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{48})"
    ),
    _shape("Google key", "AIza", r"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _shape("Google token", "ya29. GOCSPX-", r"(?<![A-Za-z0-9])(?:ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{28})"),
    _shape("Stripe key", "_live_ _test_", r"(?<![A-Za-z0-9])[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    _shape("Stripe hook secret", "whsec_", r"(?<![A-Za-z0-9])whsec_[A-Za-z0-9+/=]{24,}"),
    _shape("npm token", "npm_", r"(?<![A-Za-z0-9])npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    _shape("PyPI token", "pypi-", r"pypi-AgE[A-Za-z0-9_-]{50,}"),
    _shape("Hugging Face token", "hf_", r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{34,}(?![A-Za-z0-9_])"),
    _shape("SendGrid key", "SG.", r"(?<![A-Za-z0-9])SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    _shape("DigitalOcean token", "_v1_", r"(?<![A-Za-z0-9])do[opr]_v1_[a-f0-9]{64}"),
    _shape("Azure key", "AccountKey=", r"AccountKey=([A-Za-z0-9+/]{86}==)"),
    _shape("Telegram token", ":AA", r"(?<!\d)\d{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"),
    _shape("JSON web token", "eyJ", r"(?<![A-Za-z0-9])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    _shape(
        "password in a URL",
        "://",
        r"[a-zA-Z][a-zA-Z0-9+.]{1,20}://[^\s:/@\"'<>{}$%]{1,64}:((?:[^\s:/@\"'<>{}%]|%[0-9A-Fa-f]{2}){6,128})@[\w\[]",
        free=True,
    ),
    _shape(
        "password",
        _HINTS,
        rf"{_NAMES}[\w-]{{0,24}}[\"']?\]?\s*(?::\s*[A-Za-z]\w*\s*=|=>|:=|=|:)\s*[bru]{{0,2}}[\"']([^\s\"']{{8,200}})[\"']",
        folded=True,
        free=True,
    ),
    _shape(
        "password",
        _HINTS,
        rf"(?m:^)(?:export )?[A-Za-z_]{{0,40}}{_NAMES}[A-Za-z_]{{0,24}}="
        r"([A-Za-z0-9+/=_!@#%^&*-]{12,200})(?=\s+#|\s*[\r\n]|\Z)",
        folded=True,
        free=True,
    ),
)

_PLACEHOLDER = re.compile(
    rb"(?i)REDACTED|example|placeholder|change.?(?:me|this|it)|replace|dummy|fake|sample|insert|enter.?|your|todo|fixme"
    rb"|(?:my|test).?(?:pass|secret|token|key)|default|undefined|not.?set|x{4,}|\*{3,}|\.{3,}|(.)\1{5,}"
    rb"|0123456|1234567|abcdef|qwerty|\$[{(]|^\$\w+$|\{\w*\}|<\w+>|%[(sdr]"
)
_NO_PASSWORD = re.compile(rb"::|\w\(.*\)|\[\w*\]|^\.{0,2}/\w+[/.]|^[\w/-]+\.[a-z]{2,4}$")  # calls, paths and names


def find(content: bytes) -> tuple[Finding, ...]:
    """Return the secrets of a file, in order, none overlapping another."""
    folded = content.lower()
    found: list[Finding] = []
    for shape in _SHAPES:
        text = folded if shape.folded else content
        if not any(hint in text for hint in shape.hints):
            continue
        for match in shape.pattern.finditer(text):
            start, stop = match.span(match.lastindex or 0)
            apart = all(stop <= other.start or other.stop <= start for other in found)
            if apart and _is_secret(content[start:stop], shape):
                found.append(Finding(shape.kind, start, stop, content.count(b"\n", 0, start) + 1))
    return tuple(sorted(found, key=lambda finding: finding.start))


def redact(content: bytes, findings: Sequence[Finding] | None = None) -> bytes:
    """Return the file with a fixed word for each secret; `findings` are those of `find`, where they are known."""
    parts, behind = [], 0
    for finding in find(content) if findings is None else findings:
        parts += [content[behind : finding.start], WORD]
        behind = finding.stop
    return b"".join([*parts, content[behind:]])


def _is_secret(value: bytes, shape: _Shape) -> bool:
    if not shape.free:
        return b"EXAMPLE" not in value and b"xxxxxxxx" not in value.lower() and not re.search(rb"([^-])\1{9,}", value)
    return not _PLACEHOLDER.search(value) and _is_mixed(value)


def _is_mixed(value: bytes) -> bool:
    """Tell a password or key from a word, a name, a path or a call: kinds of bytes, and how many different ones."""
    lower, upper, digit, sign = (re.search(kind, value) for kind in (rb"[a-z]", rb"[A-Z]", rb"\d", rb"[!@#$^&*+=]"))
    if _NO_PASSWORD.search(value) or not (((lower or upper) and digit) or (lower and upper and sign)):
        return False
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())
    return bits >= _LEAST_BITS
