r"""A regular expression or two for each type of weakness, written from what such rules look for everywhere.

They see the last lines before the cursor, and what they find must reach into the last statement. Names that were
assigned some lines above are followed once, by a back reference.
"""

from __future__ import annotations

import re
from functools import cache

from omniform_codegen.scanning.statements import last_statement

__all__ = ["broken_rules"]

_LINES = 12
_SQL = r"(?:select|insert|update|delete|replace|drop|create|where|from|values)\b"
_STRING = r"(?:\"[^\"\n]*\"|'[^'\n]*'|\"\"\"[^\"]*\"\"\"|'''[^']*''')"
_BUILT = (  # a query that is put together
    rf"(?:[fF][rR]?(?:\"\"\"|'''|\"|')[^\n]*?{_SQL}[^\n]*?\{{"
    rf"|(?:\"\"\"|\"|')[^\n]*?{_SQL}[^\n]*?(?:\"\"\"|\"|')\s*(?:%\s*[\w(]|\+\s*\w|\.format\(\s*\S))"
)
_ASKED = r"(?:request|req)\.(?:args|form|values|GET|POST|json|params|query_params|cookies|headers|data|files|url)"
_SECRET = r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|api_?key|private_?key|credentials?|auth)"

_RULES = {
    "CWE-22": (
        r"\.extractall\((?![^)\n]*filter)",
        r"open\(\s*[^)\n]*(?:join\([^)\n]*|\+\s*)(?:" + _ASKED + r"|\bfile_?name\b|\bname\b|\bpath\b)",
        rf"(\w+)\s*=\s*{_ASKED}[\s\S]*?(?:open|send_file|FileResponse|read_text|remove)\([^)\n]*\b\1\b",
    ),
    "CWE-78": (
        r"\bos\.(?:system|popen)\(\s*(?:[fF][\"'][^\n]*\{|(?![fFrRbB]?[\"'])[^\s)]|[\"'][^\"'\n]*[\"']\s*(?:%|\+|\.format))",
        r"shell\s*=\s*True",
        r"\b(?:getoutput|getstatusoutput|create_subprocess_shell|exec_command)\("
        r"\s*(?:[fF][\"'][^\n]*\{|[^\"'\n]+|[\"'][^\"'\n]*[\"']\s*(?:%|\+|\.format))",
    ),
    "CWE-79": (
        r"autoescape\s*=\s*False",
        r"\b(?:Markup|mark_safe|SafeString)\(\s*(?:[fF][\"'][^\n]*\{|\w+\s*[,)+]|[\"'][^\"'\n]*[\"']\s*(?:%|\+|\.format))",
        r"(?:return|HttpResponse\(|Response\()\s*[fF]?[\"']<[^\n]*(?:\{|[\"']\s*(?:%|\+|\.format))",
    ),
    "CWE-89": (
        rf"(?i)\.(?:execute|executemany|executescript|raw|extra|query|read_sql)\w*\(\s*(?:\w+\(\s*)?{_BUILT}",
        rf"(?i)(\w+)\s*\+?=\s*\(?\s*{_BUILT}[\s\S]*?(?:execute\w*|raw|read_sql\w*|fetch\w*|text)\(\s*\1\b",
    ),
    "CWE-95": (r"(?<![\w.])(?:eval|exec)\(\s*(?![\"'][^\"'\n]*[\"']\s*\))[^)\s]", r"\bcompile\(\s*\w+[^)\n]*[\"']exec"),
    "CWE-295": (
        r"verify\s*=\s*False",
        r"_create_unverified_context\(",
        r"CERT_NONE",
        r"check_hostname\s*=\s*False",
        r"(?:AutoAddPolicy|WarningPolicy)\(",
        r"ssl\s*=\s*False",
    ),
    "CWE-327": (
        r"hashlib\.(?:md5|sha1|md4)\((?![^)\n]*usedforsecurity\s*=\s*False)",
        r"hashlib\.new\(\s*[\"'](?:md4|md5|sha1)[\"']",
        r"\b(?:DES3?|ARC4|ARC2|Blowfish|RC4)\.new\(|MODE_ECB|modes\.ECB\(|algorithms\.(?:ARC4|Blowfish|TripleDES|IDEA)",
        r"hashes\.(?:MD5|SHA1)\(|PROTOCOL_(?:SSLv2|SSLv3|TLSv1)\b",
    ),
    "CWE-330": (
        rf"(?i)(?:{_SECRET}|session|otp|nonce|salt|code|key)\w*\s*=[^\n]*\brandom\.\w+\(",
        rf"(?i)def \w*(?:{_SECRET}|session|otp|nonce|salt)\w*\([\s\S]*?"
        r"\brandom\.(?:choice|randint|random|sample|getrandbits|randrange)\w*\(",
    ),
    "CWE-377": (
        r"\bmktemp\(",
        r"os\.(?:tempnam|tmpnam)\(",
        r"open\(\s*[fF]?[\"']/(?:var/)?tmp/",
        r"=\s*[\"']/tmp/\S*[\"']",
    ),
    "CWE-489": (r"debug\s*=\s*True", r"(?i)\[[\"']DEBUG[\"']\]\s*=\s*True", r"^\s*DEBUG\s*=\s*True"),
    "CWE-502": (
        r"\b(?:c?pickle|_pickle|dill|marshal|shelve|jsonpickle|joblib|cloudpickle)\.(?:loads?|open|decode|Unpickler)\(",
        r"yaml\.(?:load|load_all|unsafe_load|full_load)\((?![^)\n]*Safe)",
        r"torch\.load\((?![^)\n]*weights_only\s*=\s*True)",
        r"allow_pickle\s*=\s*True",
    ),
    "CWE-532": (rf"(?i)(?:log(?:ger|ging)?\.\w+|print|warnings\.warn)\([^\n]*[{{,%+(]\s*[\w.]*{_SECRET}\w*\b",),
    "CWE-601": (
        rf"redirect\w*\(\s*{_ASKED}",
        rf"(\w+)\s*=\s*{_ASKED}[\s\S]*?[rR]edirect\w*\(\s*\1\b",
        r"HttpResponseRedirect\(\s*request",
    ),
    "CWE-611": (
        r"\b(?:ElementTree|ET|etree|minidom|pulldom|sax|expatbuilder)\.(?:parse|parseString|fromstring|iterparse|XML|make_parser)\(",
        r"resolve_entities\s*=\s*True",
        r"feature_external_[gp]es\s*,\s*True",
    ),
    "CWE-703": (
        r"^\s*assert\s+[^\n]*(?:is_admin|is_auth|permission|user|role|token|password|allowed|owner|valid|signature)",
    ),
    "CWE-732": (
        r"chmod\([^)\n]*(?:0o?[0-7]?[0-7][2367][2367]\b|S_IWOTH|S_IRWXO)",
        r"(?:mode\s*=|makedirs\([^)\n]*,|mkdir\([^)\n]*,)\s*0o?[0-7]?[0-7][2367][2367]\b",
        r"umask\(\s*0+o?0*\s*\)",
    ),
    "CWE-798": (
        rf"(?i)\b\w*{_SECRET}\w*\s*[:=]+\s*[bB]?[\"'][^\"'\s]{{4,}}[\"']",
        rf"(?i)[\"']\w*{_SECRET}\w*[\"']\s*\]?\s*[:=]\s*[\"'][^\"'\s]{{4,}}[\"']",
    ),
    "CWE-918": (
        rf"(?:requests|httpx|session|client)\.\w+\(\s*{_ASKED}",
        rf"(\w+)\s*=\s*{_ASKED}[\s\S]*?(?:requests\.\w+|httpx\.\w+|urlopen|urlretrieve|\.get)\(\s*\1\b",
        rf"urlopen\(\s*{_ASKED}",
    ),
    "CWE-1336": (
        rf"render_template_string\(\s*(?!{_STRING}\s*[,)])\S",
        rf"(?:\bTemplate|from_string)\(\s*(?!{_STRING}\s*[,)])\S",
    ),
}


@cache
def _compiled() -> dict[str, tuple[re.Pattern[str], ...]]:
    return {cwe: tuple(re.compile(rule, re.MULTILINE) for rule in rules) for cwe, rules in _RULES.items()}


def broken_rules(code: bytes) -> tuple[str, ...]:
    """Return the types whose rule the last statement of `code` breaks, in ascending order."""
    start, end = last_statement(code)
    above = code.rfind(b"\n", 0, start) + 1
    for _ in range(_LINES):
        above = code.rfind(b"\n", 0, max(above - 1, 0)) + 1
    before = code[above:start].decode("utf-8", "replace")
    text = before + code[start:end].decode("utf-8", "replace")
    return tuple(cwe for cwe, rules in _compiled().items() if any(_reaches(rule, text, len(before)) for rule in rules))


def _reaches(rule: re.Pattern[str], text: str, statement: int) -> bool:
    """Return whether a match ends inside the last statement."""
    return any(match.end() > statement for match in rule.finditer(text))
