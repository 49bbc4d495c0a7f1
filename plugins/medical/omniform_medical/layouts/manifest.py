"""The file `dataset.json` of a data set, from whom it may."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from omniform.errors import DataError
from omniform_medical.layouts.labels import in_order
from omniform_medical.layouts.listing import Labels, some

__all__ = ["Manifest", "read_manifest"]

_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a `dataset.json` says; nothing of it is trusted before it is looked at."""

    file: Path
    content: Mapping[str, Any]

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def fault(self, message: str) -> DataError:
        """Return an error that names the file."""
        return DataError(f"{str(self.file)!r}: {message}")

    def get(self, key: str, kind: type) -> Any:
        """Return an entry, an empty one if it is absent.

        Raises:
            DataError: it is of another kind.
        """
        value = self.content.get(key, kind())
        if not isinstance(value, kind):
            words = {dict: "an object", list: "a list", str: "text"}
            raise self.fault(f"expected {key!r} to be {words[kind]}, got {type(value).__name__}")
        return value

    def path(self, text: object) -> Path:
        """Return the file in the data set's folder that an entry names.

        Raises:
            DataError: it is no name, leads out of the folder, or there is no such file.
        """
        parts = PurePosixPath(text.replace("\\", "/")).parts if isinstance(text, str) and text else ()
        if not parts or ".." in parts or Path(*parts).is_absolute() or ":" in parts[0] or "\0" in "".join(parts):
            raise self.fault(f"expected the name of a file inside of the folder, got {text!r}")
        path = self.file.parent.joinpath(*parts)
        try:
            if path.is_file():
                return path
        except OSError:  # a name that is too long, for one
            pass
        raise self.fault(f"there is no file {'/'.join(parts)[:200]!r} in the folder")

    def numbered(self, key: str) -> tuple[str, ...] | None:
        """Return the names in `{"0": NAME, "1": NAME}`, in the order of the numbers, `None` if there are none.

        Raises:
            DataError: the numbers are not 0, 1, 2, ..., or a name is not printable.
        """
        named = self.get(key, dict)
        if any(str(place) not in named for place in range(len(named))):
            raise self.fault(f"expected {key!r} to number names from 0, got {some(named)}")
        names = tuple(str(named[str(place)]) for place in range(len(named)))
        if not all(name and name.isprintable() for name in names):
            raise self.fault(f"expected {key!r} to have printable names, got {some(names)}")
        return names or None

    def ordered(self, named: Mapping[int, str]) -> Labels:
        """Order the classes by their values.

        Raises:
            DataError: they cannot be classes.
        """
        try:
            return in_order(named)
        except DataError as error:
            raise self.fault(str(error)) from None


def read_manifest(folder: Path) -> Manifest | None:
    """Read `dataset.json`, `None` where there is none.

    Raises:
        DataError: it is no JSON object.
    """
    file = folder / "dataset.json"
    if not file.is_file():
        return None
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise DataError(f"{str(file)!r} has {file.stat().st_size:,} bytes; expected at most {_MAX_BYTES:,}")
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{str(file)!r} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{str(file)!r} is no JSON ({' '.join(str(error).split())[:80]})") from error
    if not isinstance(content, dict):
        raise DataError(f"{str(file)!r}: expected a JSON object, got {type(content).__name__}")
    return Manifest(file, content)
