"""How tokenizers write bytes that are no letters: the alphabet of byte-level BPE, and the bytes `<0xNN>`."""

from __future__ import annotations

__all__ = ["FALLBACK", "LETTERS", "level_bytes"]


def _letters() -> str:
    """Return GPT-2's letter for each byte: itself if it is printable in Latin-1, else the next one from U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(256))


LETTERS = _letters()
FALLBACK = tuple(f"<0x{byte:02X}>" for byte in range(256))

_BYTES = {letter: byte for byte, letter in enumerate(LETTERS)}


def level_bytes(token: str) -> bytes:
    """Return the bytes that a token of byte-level BPE stands for; what is not in the alphabet stands for itself."""
    if all(letter in _BYTES for letter in token):
        return bytes(_BYTES[letter] for letter in token)
    return token.encode()
