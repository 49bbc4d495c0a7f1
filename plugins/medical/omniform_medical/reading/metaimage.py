"""Headers of MHA and MHD files, checked before ITK parses them: it crashes on some that are not well-formed."""

from __future__ import annotations

import re
from pathlib import Path

from omniform_medical.reading.stored import refusal

__all__ = ["check_metaimage"]

_LONGEST_HEADER = 2**20  # bytes
_MOST_AXES = 5
_LENGTHS = {  # of lists of numbers, by the number of axes
    "DimSize": lambda rank: rank,
    "ElementSpacing": lambda rank: rank,
    "ElementSize": lambda rank: rank,
    "Offset": lambda rank: rank,
    "Origin": lambda rank: rank,
    "Position": lambda rank: rank,
    "CenterOfRotation": lambda rank: rank,
    "TransformMatrix": lambda rank: rank**2,
    "Orientation": lambda rank: rank**2,
    "Rotation": lambda rank: rank**2,
    "ElementNumberOfChannels": lambda _: 1,
    "HeaderSize": lambda _: 1,
    "CompressedDataSize": lambda _: 1,
}


def check_metaimage(path: Path, ending: str, name: str) -> Path:
    """Return the file with the voxels, which may be another only for .mhd, and only one beside it.

    A header that names files elsewhere would make whoever opens it read them.

    Raises:
        DataError: a field that ITK needs is missing or of another length, or the voxels are elsewhere.
    """
    fields = _fields(path, name)
    rank = int(fields["NDims"])
    for field, length in _LENGTHS.items():
        values = fields.get(field, "").split()
        if field in fields and not (len(values) == length(rank) and all(map(_is_number, values))):
            raise refusal(name, f"its header needs {length(rank)} numbers in {field}; write it anew")
    if "DimSize" not in fields or not fields.get("ElementType", "").startswith("MET_"):
        raise refusal(name, "its header lacks DimSize or ElementType; write it anew")
    target = fields["ElementDataFile"]
    if target.upper() == "LOCAL":
        return path
    beside = path.parent / Path(target).name
    if ending == ".mha" or Path(target).name != target or not beside.is_file():
        raise refusal(name, "names a file for its voxels that is not beside it; write both as one .mha file")
    return beside


def _fields(path: Path, name: str) -> dict[str, str]:
    """Return the header's lines `field = value` up to the last, ElementDataFile; NDims is an integer from 1 to 5."""
    with path.open("rb") as file:
        text = file.read(_LONGEST_HEADER)
    if not text:
        raise refusal(name, "is empty")
    end = re.search(rb"(?:^|\n)ElementDataFile[ \t]*=[^\n]*", text)
    lines = text[: end.end()].decode("utf-8", errors="replace").splitlines() if end else []
    pairs = [line.partition("=") for line in lines if line.strip()]
    fields = {field.strip(): value.strip() for field, _, value in pairs}
    if not fields or len(fields) < len(pairs) or not all(between for _, between, _ in pairs):
        raise refusal(name, "is truncated or no MetaImage: its header is not made of lines field = value")
    if fields.get("NDims", "") not in [str(rank) for rank in range(1, _MOST_AXES + 1)]:
        raise refusal(name, f"its header says no NDims from 1 to {_MOST_AXES}; write it anew")
    return fields


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|[+-]?inf", text, re.IGNORECASE) is not None
