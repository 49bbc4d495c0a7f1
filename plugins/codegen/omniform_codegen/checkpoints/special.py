"""Which ids of a checkpoint's tokenizer are special, by the conventions of its family."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omniform.errors import ConfigError
from omniform_codegen.checkpoints.folder import read_json
from omniform_codegen.infilling import find_format
from omniform_codegen.vocabulary import SpecialTokens

__all__ = ["find_special"]


def find_special(
    folder: Path, config: Mapping[str, Any], spec: Mapping[str, Any], vocabulary: Mapping[str, int]
) -> SpecialTokens:
    """Find the special ids; those for filling in the middle by their names in the families that have them.

    The end is the `eos_token` of tokenizer_config.json or special_tokens_map.json, else config.json's `eos_token_id`,
    the first of several. There is a begin where the tokenizer adds one: `add_bos_token` of tokenizer_config.json says
    so, else the template of tokenizer.json. Completions also end where the family's infilling format says.

    Args:
        config: config.json.
        spec: tokenizer.json.
        vocabulary: the ids of all tokens.

    Raises:
        ConfigError: no end is named, or it is none of the tokenizer's.
    """
    named = _names(folder)
    form = find_format(vocabulary)
    pad = vocabulary.get(named.get("pad_token", ""))
    if pad is None and form is not None and form.pad is not None:
        pad = vocabulary.get(form.pad)
    end = vocabulary.get(named.get("eos_token", ""))
    end = _first(config.get("eos_token_id")) if end is None else end
    if end is None:
        raise ConfigError(
            f"expected an eos_token of tokenizer.json in {folder / 'tokenizer_config.json'}, or an eos_token_id in "
            "config.json, got neither; name the token that stands between documents"
        )
    return SpecialTokens(
        end=end,
        prefix=None if form is None else vocabulary[form.prefix],
        suffix=None if form is None else vocabulary[form.suffix],
        middle=None if form is None else vocabulary[form.middle],
        pad=pad,
        begin=_begin(named, config, spec, vocabulary),
        stops=() if form is None else tuple(vocabulary[name] for name in form.ends if name in vocabulary),
    )


def _names(folder: Path) -> dict[str, Any]:
    """Return what tokenizer_config.json and special_tokens_map.json say, tokens as their text."""
    named: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).exists():
            named |= {key: value for key, value in read_json(folder, name).items() if value is not None}
    texts = {
        key: value["content"] if isinstance(value, dict) and "content" in value else value
        for key, value in named.items()
    }
    return {key: value for key, value in texts.items() if isinstance(value, str | bool)}


def _begin(
    named: Mapping[str, Any], config: Mapping[str, Any], spec: Mapping[str, Any], vocabulary: Mapping[str, int]
) -> int | None:
    template = _template(spec.get("post_processor"))
    if not named.get("add_bos_token", template is not None):
        return None
    begin = vocabulary.get(named.get("bos_token", template or ""))
    return _first(config.get("bos_token_id")) if begin is None else begin


def _template(processor: Any) -> str | None:
    """Return the special token that a template puts before a single text."""
    match processor:
        case {"type": "Sequence", "processors": [*parts]}:
            return next((begin for begin in map(_template, parts) if begin is not None), None)
        case {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": str(begin)}}, *_]}:
            return begin
    return None


def _first(value: Any) -> int | None:
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, int) and not isinstance(value, bool) else None
