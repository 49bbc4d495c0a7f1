"""The types of weakness that are told apart, by the identifiers of the Common Weakness Enumeration."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SAFE", "WEAKNESSES", "Weakness", "describe"]

SAFE = "safe"
"""The label of a snippet whose last statement brings no weakness."""


@dataclass(frozen=True, slots=True)
class Weakness:
    """One type.

    Attributes:
        cwe: `"CWE-89"`.
        name: a few words.
        message: what is wrong.
        remedy: what to write instead.
    """

    cwe: str
    name: str
    message: str
    remedy: str

    @property
    def number(self) -> str:
        """The identifier without its prefix."""
        return self.cwe.removeprefix("CWE-")

    @property
    def address(self) -> str:
        """Where the enumeration explains it."""
        return f"https://cwe.mitre.org/data/definitions/{self.number}.html"


_TABLE = (
    Weakness(
        "CWE-22",
        "path traversal",
        "A path is built from outside input and may leave its folder.",
        "Resolve the path and check that it lies inside the folder; extract archives with filter='data'.",
    ),
    Weakness(
        "CWE-78",
        "operating system command injection",
        "A shell command is put together from variable parts.",
        "Pass a list of arguments without a shell, or quote each part with shlex.quote.",
    ),
    Weakness(
        "CWE-79",
        "cross-site scripting",
        "Text from outside reaches a page without being escaped.",
        "Render through a template with autoescape on, or escape the text first.",
    ),
    Weakness(
        "CWE-89",
        "SQL injection",
        "A query is put together from strings.",
        "Leave placeholders in the query and pass the values as parameters.",
    ),
    Weakness(
        "CWE-95",
        "code injection",
        "Text is run as code.",
        "Read literals with ast.literal_eval or json.loads; look names up in a dictionary.",
    ),
    Weakness(
        "CWE-295",
        "certificate not checked",
        "A connection accepts any certificate.",
        "Leave verification on; give the path of your own authority where one is needed.",
    ),
    Weakness(
        "CWE-327",
        "broken cryptography",
        "A hash or cipher that is broken protects this.",
        "Take SHA-256 or better, AES-GCM, and for passwords scrypt or argon2.",
    ),
    Weakness(
        "CWE-330",
        "predictable random values",
        "A secret is drawn from a generator that can be predicted.",
        "Draw it with the module secrets.",
    ),
    Weakness(
        "CWE-377",
        "insecure temporary file",
        "A temporary file has a name that others can foresee or take first.",
        "Let tempfile.NamedTemporaryFile, mkstemp or TemporaryDirectory create it.",
    ),
    Weakness(
        "CWE-489",
        "debugging left on",
        "A server is started with its debugger on.",
        "Leave debug off, or take it from the environment of the developer.",
    ),
    Weakness(
        "CWE-502",
        "unsafe deserialisation",
        "Data that may come from outside is read by a format that runs code.",
        "Read JSON, or YAML with safe_load; load weights with weights_only=True.",
    ),
    Weakness(
        "CWE-532",
        "secrets in logs",
        "A secret is written to a log or printed.",
        "Leave the secret out, or log the name of the account only.",
    ),
    Weakness(
        "CWE-601",
        "open redirect",
        "A visitor is sent to an address that came with the request.",
        "Check that the address is one of your own, or look it up by a name.",
    ),
    Weakness(
        "CWE-611",
        "XML external entities",
        "XML is read by a parser that follows entities.",
        "Read it with defusedxml, or with resolve_entities=False.",
    ),
    Weakness(
        "CWE-703",
        "check by assert",
        "A check that matters vanishes when Python runs with -O.",
        "Raise an exception of your own where the condition fails.",
    ),
    Weakness(
        "CWE-732",
        "permissions too wide",
        "Everybody may write a file or a folder.",
        "Give 0o600 or 0o700, or 0o644 and 0o755 where others must read.",
    ),
    Weakness(
        "CWE-798",
        "hard-coded secret",
        "A password or key stands in the source.",
        "Read it from the environment or from a store of secrets.",
    ),
    Weakness(
        "CWE-918",
        "server-side request forgery",
        "The server fetches an address that came with the request.",
        "Check the host against a list of those that may be asked.",
    ),
    Weakness(
        "CWE-1336",
        "template injection",
        "Text from outside is taken as a template.",
        "Keep the template constant and pass the text as a variable.",
    ),
)

WEAKNESSES = {weakness.cwe: weakness for weakness in _TABLE}
"""All of them by identifier, in ascending order."""


def describe(cwe: str) -> Weakness:
    """Return the weakness of an identifier; of one that is not in the table, what its number alone tells."""
    known = WEAKNESSES.get(cwe)
    return known or Weakness(cwe, cwe, f"This looks like {cwe}.", "See the enumeration for what to do instead.")
