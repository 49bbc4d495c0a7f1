"""Tokenizers trained on the spot in each style, against the library's own ids, and on bytes that are no text."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniform.errors import ConfigError, OmniformError, RunError
from omniform_codegen.checkpoints.alphabet import LETTERS
from omniform_codegen.checkpoints.tokenizer import CheckpointTokenizer, load_tokenizer
from omniform_codegen.infilling import CODE_LLAMA, DEEPSEEK_CODER, QWEN_CODER, STAR_CODER, InfillFormat

tokenizers = pytest.importorskip("tokenizers")

PLAIN = [
    "def area(width, height):\n    return width * height\n",
    "for i in range(10):\n\tprint(f'{i:>3}', \"naïve café\")\n\n\n",
    "x = [1, 2, 3]  # 测试 🙂\r\n    y = x[::-1]     \n",
    "class A:\n        pass\n" * 3,
    "",
    " ",
    "    ",
    "\n",
]
SPECIAL = ["<s>", "</s>", "<|endoftext|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>", "<unk>"]
HOSTILE = [
    *SPECIAL,
    "<0x41>",
    "\u2581",
    "\u2581\u2581x",
    "e\u0301",
    "\u212b",
    "õ",
    "\ud7ff",
    "\x00",
    "<tool_call>",
    "\ufeff",
]


def byte_level() -> Any:
    """Return a tokenizer as StarCoder's: cut by GPT-2's expression and at digits."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Digits(individual_digits=True), tokenizers.pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    _train(tokenizer, alphabet, SPECIAL[1:-1])
    return tokenizer


def composing() -> Any:
    """Return a tokenizer as Qwen's: Unicode's NFC first, and a token between brackets that is not called special."""
    tokenizer = byte_level()
    tokenizer.normalizer = tokenizers.normalizers.NFC()
    tokenizer.add_tokens(["<tool_call>"])
    return tokenizer


def with_blanks() -> Any:
    """Return a tokenizer as GPT-NeoX's, with tokens for runs of blanks that were added later."""
    tokenizer = byte_level()
    tokenizer.add_tokens([" " * n for n in range(2, 9)])
    return tokenizer


def metaspace() -> Any:
    """Return a tokenizer as Llama's of late: U+2581 for blanks, one of them in front, bytes for what is unknown."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁<PRE>", "▁<SUF>", "▁<MID>"]
    _train(tokenizer, [], names)
    spec = json.loads(tokenizer.to_str())
    spec["added_tokens"] = [token for token in spec["added_tokens"] if not token["content"].startswith("<0x")]
    return tokenizers.Tokenizer.from_str(json.dumps(spec))


def prepending() -> Any:
    """Return a tokenizer as Llama 2's: the same by a normalizer, without a pre-tokenizer."""
    spec = json.loads(metaspace().to_str())
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    spec["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}
    spec["pre_tokenizer"] = None
    return tokenizers.Tokenizer.from_str(json.dumps(spec))


def _train(tokenizer: Any, alphabet: Sequence[str], names: Sequence[str]) -> None:
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=len(names) + len(alphabet) + 160,
        initial_alphabet=list(alphabet),
        special_tokens=list(names),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["\n".join(PLAIN)] * 3, trainer)


STYLES: dict[str, Callable[[], Any]] = {
    "byte-level": byte_level,
    "composing": composing,
    "with blanks": with_blanks,
    "metaspace": metaspace,
    "prepending": prepending,
}
_LOADED: dict[str, tuple[Any, CheckpointTokenizer]] = {}


@pytest.fixture(scope="module", params=list(STYLES))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, CheckpointTokenizer]:
    """Return the library's tokenizer and ours, of the same file."""
    theirs = STYLES[request.param]()
    folder = tmp_path_factory.mktemp("tokenizer")
    return theirs, save(theirs, folder)


def save(theirs: Any, folder: Path, **config: Any) -> CheckpointTokenizer:
    theirs.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"} | config))
    return load_tokenizer(folder, {}, size=1000)


def edited(folder: Path, change: Callable[[dict[str, Any]], None]) -> CheckpointTokenizer:
    save(byte_level(), folder)
    spec = json.loads((folder / "tokenizer.json").read_text())
    change(spec)
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    return load_tokenizer(folder, {}, size=1000)


def check_exact(ours: CheckpointTokenizer, text: bytes) -> None:
    ids = ours.encode(text)
    lengths = ours.lengths()
    special = {ours.vocabulary[name] for name in SPECIAL if name in ours.vocabulary}
    assert ours.decode(ids) == text
    assert b"".join(ours.decode([token]) for token in ids) == text
    assert sum(lengths[token] for token in ids) == len(text)
    assert not special & set(ids)


def test_ids_of_plain_text_are_the_library_s(pair: tuple[Any, CheckpointTokenizer]):
    theirs, ours = pair
    merged = 0
    for text in filter(None, PLAIN):
        expected = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode((lead(theirs, text) + text).encode()) == expected
        merged += len(text.encode()) - len(expected)
    assert merged > 100  # it is no tokenizer of bytes


def lead(theirs: Any, text: str) -> str:
    """Return the blank that the library puts before a text: Prepend always, Metaspace only where there is none."""
    if not theirs.encode("x", add_special_tokens=False).tokens[0].startswith("▁"):
        return ""
    return "" if theirs.pre_tokenizer is not None and text.startswith(" ") else " "


@pytest.mark.parametrize("text", HOSTILE)
def test_special_and_odd_text_is_text(pair: tuple[Any, CheckpointTokenizer], text: str):
    for around in ("", " ", "a", "\n  "):
        check_exact(pair[1], (around + text + around).encode())


@given(text=st.binary(max_size=60))
@settings(max_examples=60)
def test_any_bytes_come_back(pair: tuple[Any, CheckpointTokenizer], text: bytes):
    check_exact(pair[1], text)


@given(
    parts=st.lists(
        st.one_of(
            st.sampled_from([*PLAIN, *HOSTILE]).map(str.encode),
            st.text(max_size=9).map(str.encode),
            st.binary(max_size=4),
        ),
        max_size=6,
    )
)
@settings(max_examples=60)
def test_mixtures_of_text_and_bytes_come_back(pair: tuple[Any, CheckpointTokenizer], parts: list[bytes]):
    check_exact(pair[1], b"".join(parts))


def test_each_id_has_its_bytes(pair: tuple[Any, CheckpointTokenizer]):
    theirs, ours = pair
    assert len(ours) == 1000
    assert ours.lengths()[theirs.get_vocab_size() :].sum() == 0
    for name in ("</s>", "<fim_prefix>", "▁<PRE>", "<tool_call>"):
        if name in ours.vocabulary:
            assert ours.decode([ours.vocabulary[name]]) == b""
    for text in ("return width", " * height", "    "):
        ids = theirs.encode("a" + text, add_special_tokens=False).ids
        assert ours.decode(ids).lstrip(b" ") == ("a" + text).encode()


def test_special_ids_follow_the_families(tmp_path: Path):
    ours = save(byte_level(), tmp_path, pad_token=None)
    names = ("</s>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<fim_pad>")
    special = ours.special
    assert [special.end, special.prefix, special.suffix, special.middle, special.pad] == [
        ours.vocabulary[name] for name in names
    ]
    assert special.begin is None
    special = save(metaspace(), tmp_path, add_bos_token=True, bos_token={"content": "<s>"}, pad_token="<unk>").special
    assert (special.begin, special.end, special.pad) == (1, 2, 0)
    assert special.infills


@pytest.mark.parametrize("form", [STAR_CODER, QWEN_CODER, CODE_LLAMA, DEEPSEEK_CODER])
def test_each_family_names_its_tokens_for_the_middle(tmp_path: Path, form: InfillFormat):
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE({letter: place for place, letter in enumerate(LETTERS)}, []))
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(False)
    names = ["</s>", form.prefix, form.suffix, form.middle, *([form.pad] if form.pad else [])]
    theirs.add_tokens(names)  # Qwen's file does not call them special
    ours = save(theirs, tmp_path)
    special = ours.special
    assert [special.end, special.prefix, special.suffix, special.middle] == [256, 257, 258, 259]
    assert special.pad == (260 if form.pad else None)
    for name in names:
        assert ours.decode([ours.vocabulary[name]]) == b""
        assert len(ours.encode(name.encode())) == len(name.encode())


def test_letters_are_the_library_s():
    cut = tokenizers.pre_tokenizers.ByteLevel(False, use_regex=False).pre_tokenize_str
    text = "".join(map(chr, range(0x2000)))
    assert cut(text)[0][0] == "".join(LETTERS[byte] for byte in text.encode())
    assert set(LETTERS) == set(tokenizers.pre_tokenizers.ByteLevel.alphabet())


def test_a_template_tells_the_begin(tmp_path: Path):
    theirs = metaspace()
    theirs.post_processor = tokenizers.processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    assert save(theirs, tmp_path).special.begin == 1
    assert save(theirs, tmp_path, add_bos_token=False).special.begin is None


def test_the_end_may_stand_in_the_config(tmp_path: Path):
    save(byte_level(), tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    assert load_tokenizer(tmp_path, {"eos_token_id": [1, 0]}, size=1000).special.end == 1
    with pytest.raises(ConfigError, match="eos_token"):
        load_tokenizer(tmp_path, {}, size=1000)


def test_letters_added_later_complete_the_bytes(tmp_path: Path):
    """DeepSeek-Coder's file has the bytes that UTF-8 never uses as added tokens."""

    def move(spec: dict[str, Any]) -> None:
        for letter in (LETTERS[0xF5], LETTERS[0xFF]):
            place = spec["model"]["vocab"].pop(letter)
            flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "special"), False)
            spec["added_tokens"].append({"id": place, "content": letter, "normalized": True, **flags})

    ours = edited(tmp_path, move)
    for text in (b"\xf5\xff", "õÿ".encode(), b"a\xf5b"):
        check_exact(ours, text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda spec: spec["model"]["vocab"].pop("Ġ"), "a token for each byte"),
        (lambda spec: spec["model"].update(type="WordPiece"), "byte-level BPE"),
        (lambda spec: spec.update(pre_tokenizer=None), "byte-level BPE"),
        (lambda spec: spec.update(normalizer={"type": "Lowercase"}), "Lowercase"),
        (lambda spec: spec["model"].update(end_of_word_suffix="</w>"), "end_of_word_suffix"),
        (lambda spec: spec["model"]["vocab"].update(x=10**12), "network's vocabulary"),
        (lambda spec: spec["model"].update(vocab=[1, 2]), "a model with a vocabulary"),
        (lambda spec: spec.update(model=7), "a model with a vocabulary"),
        (lambda spec: spec.update(added_tokens=[{"id": "x"}]), "added tokens"),
        (lambda spec: spec["model"].update(merges=[["no", "such"]]), "expected a tokenizer in"),
        (
            lambda spec: spec.update(
                pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "Bad"}]}
            ),
            "expected a tokenizer in",
        ),
    ],
)
def test_what_cannot_be_exact_is_refused(tmp_path: Path, change: Callable[[Any], None], message: str):
    with pytest.raises(OmniformError, match=message) as caught:
        edited(tmp_path, change)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told_with_its_remedy(tmp_path: Path):
    with pytest.raises(RunError, match=r"tokenizer\.json.*save_pretrained"):
        load_tokenizer(tmp_path, {}, size=10)
