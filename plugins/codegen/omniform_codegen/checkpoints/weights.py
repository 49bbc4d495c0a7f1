"""The tensors of safetensors files: their shapes at once, their values one at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from safetensors import SafetensorError, safe_open
from torch import Tensor

from omniform.errors import RunError

__all__ = ["Weights"]

_FLOATS = ("F64", "F32", "F16", "BF16")


class Weights:
    """Tensors by name, in memory-mapped files that are open within a `with`.

    Args:
        files: of safetensors.
        places: the name of the file that should hold each tensor, where there is an index.
        aliases: names that some files use, and what they stand for.

    Attributes:
        shapes: of all tensors.

    Raises:
        RunError: a file is truncated or broken, or the index and the files contradict each other.
    """

    def __init__(
        self,
        files: Sequence[Path],
        places: Mapping[str, str] | None = None,
        *,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self._files = files
        self._places = places
        self._aliases = aliases or {}
        self._stack = ExitStack()
        self._found: dict[str, tuple[Any, str]] = {}
        self._kinds: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def __enter__(self) -> Self:
        with self._stack:
            for path in self._files:
                self._read_header(path)
            missing = sorted(set(self._places or ()) - {stored for _, stored in self._found.values()})
            if missing:
                raise RunError(
                    f"expected {missing[0]} in {(self._places or {})[missing[0]]}, as the index says, got none"
                )
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def largest(self) -> int:
        """The largest extent of a tensor that holds anything."""
        return max((max(shape, default=1) for shape in self.shapes.values() if prod(shape)), default=1)

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Check that a tensor is there, has this shape, and holds floating-point numbers.

        Raises:
            RunError: it is not so.
        """
        got = self.shapes.get(name)
        if got != shape:
            raise RunError(
                f"expected a tensor {name} of shape {shape}, got {'none' if got is None else got}; config.json and the "
                "weights do not belong together, or a file is missing"
            )
        if self._kinds[name] not in _FLOATS:
            raise RunError(
                f"expected {name} as one of {', '.join(_FLOATS)}, got {self._kinds[name]}: quantised checkpoints are "
                "not supported; pick the full-precision one"
            )

    def read(self, name: str) -> Tensor:
        """Return a view of a tensor; copy it before the files are closed."""
        file, stored = self._found[name]
        return file.get_tensor(stored)

    def _read_header(self, path: Path) -> None:
        try:
            file = self._stack.enter_context(safe_open(path, framework="pt", device="cpu"))
            for stored in file.keys():  # noqa: SIM118  it is no mapping
                part = file.get_slice(stored)
                self._add(path, file, stored, tuple(part.get_shape()), part.get_dtype())
        except (SafetensorError, OSError) as error:
            raise RunError(f"expected safetensors in {path}, got {error}; fetch the file again") from None

    def _add(self, path: Path, file: Any, stored: str, shape: tuple[int, ...], kind: str) -> None:
        name = self._aliases.get(stored, stored)
        if name in self.shapes:
            raise RunError(f"expected one tensor {name}, got another in {path}; fetch the checkpoint again")
        self.shapes[name] = shape
        self._kinds[name] = kind
        self._found[name] = (file, stored)
