"""How a tokenizer.json spells bytes as tokens, and that file changed so that nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniform.errors import ConfigError, RunError
from omniform_codegen.checkpoints.alphabet import FALLBACK, LETTERS, level_bytes

__all__ = ["Spelling", "read_spelling"]

_SPACE = "▁"
_MARK = re.compile(r"▁?[<\[|]\S+[>\]|]")
_COMPOSING = ("NFC", "NFKC", "NFD", "NFKD")


@dataclass(frozen=True, slots=True)
class Spelling:
    """A vocabulary and its bytes.

    Attributes:
        path: of the tokenizer.json.
        spec: that file, without special tokens, and without what changes a text before it is cut.
        ids: of all tokens.
        pieces: the bytes of those tokens that stand for any.
        singles: the ids of the 256 single bytes.
        space: the letter that stands for a space, if one does.
    """

    path: Path
    spec: Mapping[str, Any]
    ids: Mapping[str, int]
    pieces: Mapping[str, bytes]
    singles: tuple[int, ...]
    space: str


def read_spelling(spec: Mapping[str, Any], path: Path) -> Spelling:
    """Understand a tokenizer.json.

    Raises:
        ConfigError: it is no byte-level BPE, and no BPE with byte fallback; or lacks some bytes, or loses text.
        RunError: it is broken.
    """
    model, added = spec.get("model"), spec.get("added_tokens") or []
    if not isinstance(model, dict) or not _is_vocabulary(model.get("vocab"), added):
        raise RunError(f"expected a model with a vocabulary, and added tokens, in {path}; fetch the file again")
    level = any(part.get("type") == "ByteLevel" for part in _parts(spec.get("pre_tokenizer"), "pretokenizers"))
    _check_model(model, level, path)
    vocabulary: dict[str, int] = model["vocab"]
    ids = vocabulary | {token["content"]: token["id"] for token in added}
    letters = LETTERS if level else FALLBACK
    missing = [f"0x{byte:02X}" for byte, letter in enumerate(letters) if letter not in ids]
    if missing:
        raise ConfigError(f"expected a token for each byte in {path}, got none for {', '.join(missing[:3])}")

    marks = {token["content"] for token in added if _is_mark(token)}.difference(letters)
    texts = [token for token in added if token["content"] not in marks.union(letters)]
    pieces = {token: level_bytes(token) if level else _fallback_bytes(token) for token in ids if token not in marks}
    pieces |= {token["content"]: token["content"].encode() for token in texts}
    kept = vocabulary | {token: ids[token] for token in (*letters, *(token["content"] for token in texts))}
    exact = {
        "version": spec.get("version", "1.0"),
        "added_tokens": [token | {"special": False, "lstrip": False, "rstrip": False} for token in texts],
        "normalizer": _exact_normalizer(spec.get("normalizer"), path),
        "pre_tokenizer": _exact_pre_tokenizer(spec.get("pre_tokenizer")),
        "model": model | {"vocab": kept, "dropout": None},
    }
    return Spelling(path, exact, ids, pieces, tuple(ids[letter] for letter in letters), "" if level else _SPACE)


def _check_model(model: Mapping[str, Any], level: bool, path: Path) -> None:
    if model.get("type", "BPE") != "BPE" or not (level or model.get("byte_fallback")):
        raise ConfigError(
            f"expected byte-level BPE, or BPE with byte_fallback, in {path}; other kinds are not supported"
        )
    for affix in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(affix):
            raise ConfigError(f"expected no {affix} in {path}, got {model[affix]!r}, which is not supported")


def _is_vocabulary(vocabulary: Any, added: Any) -> bool:
    def is_id(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0

    return (
        isinstance(vocabulary, dict)
        and all(map(is_id, vocabulary.values()))
        and isinstance(added, list)
        and all(isinstance(t, dict) and isinstance(t.get("content"), str) and is_id(t.get("id")) for t in added)
    )


def _is_mark(token: Mapping[str, Any]) -> bool:
    """Tell whether an added token stands for no text: it says so, or stands between brackets as Qwen's do."""
    return bool(token.get("special")) or _MARK.fullmatch(token["content"]) is not None


def _fallback_bytes(token: str) -> bytes:
    if token in FALLBACK:
        return bytes([int(token[3:5], 16)])
    return token.replace(_SPACE, " ").encode()


def _parts(step: Any, key: str) -> Iterator[dict[str, Any]]:
    """Return the steps that a step consists of, in order."""
    if isinstance(step, dict) and isinstance(step.get(key), list):
        for part in step[key]:
            yield from _parts(part, key)
    elif isinstance(step, dict):
        yield step


def _exact_normalizer(normalizer: Any, path: Path) -> dict[str, Any]:
    """Keep what writes a space as its letter; leave out what composes accents, or puts a space before the text.

    Raises:
        ConfigError: there is something else, which loses text.
    """
    kept = []
    for part in _parts(normalizer, "normalizers"):
        match part:
            case {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}:
                kept.append(part)
            case {"type": "Prepend", "prepend": "▁"}:
                pass
            case {"type": kind} if kind in _COMPOSING:
                pass
            case _:
                raise ConfigError(
                    f"expected a tokenizer that loses no text in {path}, got the step {part.get('type')!r}"
                )
    return {"type": "Sequence", "normalizers": kept}


def _exact_pre_tokenizer(step: Any) -> dict[str, Any] | None:
    """Cut as it says, without a space before the text."""
    parts = []
    for part in _parts(step, "pretokenizers"):
        if part.get("type") == "ByteLevel":
            part = part | {"add_prefix_space": False}
        elif part.get("type") == "Metaspace":
            part = {key: value for key, value in part.items() if key != "add_prefix_space"} | {
                "prepend_scheme": "never"
            }
        parts.append(part)
    return {"type": "Sequence", "pretokenizers": parts} if parts else None
