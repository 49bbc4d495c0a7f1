"""C++ that this machine's compiler builds on first use, kept for the next time, and never required.

Plain functions over pointers, called by ctypes: a build takes a second or two, needs neither ninja nor torch's headers,
and serves every version of torch. `OMNIFORM_NATIVE=0` switches it off.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["Library", "compiler"]

_HEADERS = Path(__file__).parent
# Associative sums let a loop become vector instructions; infinities and NaN keep their meaning (no -ffast-math, which
# at link time would also flush subnormal numbers in the whole process).
_FLAGS = (
    *("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-fopenmp"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math", "-freciprocal-math"),
)


def compiler() -> str | None:
    """Return the path of this machine's C++ compiler; None if there is none or it was switched off."""
    if os.environ.get("OMNIFORM_NATIVE") == "0":
        return None
    return shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++") or shutil.which("clang++")


class Library:
    """The C++ functions of one source file: `library.call("name", tensor.data_ptr(), 3, ...)`.

    Functions are `extern "C" void name(int threads, ...)`, of pointers, `int64_t` and `float`.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self._functions: dict[str, Callable[..., None]] = {}

    def available(self) -> bool:
        """Whether the functions can be called; the first question builds them."""
        return self._library is not None

    def call(self, name: str, *arguments: Tensor | int | float | None) -> None:
        """Call a function with torch's number of threads before the arguments; tensors must be contiguous.

        An argument keeps the type that it has in the first call: a tensor or None, a whole number, or a float.
        """
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = self._bind(name, arguments)
        function(
            torch.get_num_threads(),
            *[x if x is None or isinstance(x, (int, float)) else x.data_ptr() for x in arguments],
        )

    def _bind(self, name: str, arguments: Sequence[Tensor | int | float | None]) -> Callable[..., None]:
        """Tell ctypes the types once, which makes a call five times as fast as converting each argument."""
        assert self._library is not None, "ask available() first"
        function = self._library[name]
        function.restype = None
        function.argtypes = [ctypes.c_int, *map(_type, arguments)]
        return function

    @cached_property
    def _library(self) -> ctypes.CDLL | None:
        program = compiler()
        if program is None:
            return None
        target = _cache() / f"{self.source.parent.name}-{self._key(program)}.so"
        try:
            if not target.exists():
                self._build(program, target)
            return ctypes.CDLL(str(target))
        except (OSError, subprocess.SubprocessError) as error:
            reason = getattr(error, "stderr", None) or str(error)
            _say(f"{self.source.parent.name}: {program} failed, plain torch runs instead ({reason.strip()[:300]})")
            return None

    def _key(self, program: str) -> str:
        """Name a build by all that shapes it, the processor included: the cache may be shared between machines."""
        sources = [*sorted(_HEADERS.glob("*.h")), self.source]
        parts = [path.read_text() for path in sources] + [program, _processor(), *_FLAGS]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def _build(self, program: str, target: Path) -> None:
        start = time.perf_counter()
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            product = Path(folder) / target.name
            command = [program, *_FLAGS, f"-I{_HEADERS}", str(self.source), "-o", str(product)]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
            product.replace(target)  # at once, so that processes may build at the same time
        _say(f"built {self.source.parent.name} with {program} in {time.perf_counter() - start:.1f} s ({target.parent})")


def _type(value: Tensor | int | float | None) -> type[ctypes.c_void_p | ctypes.c_int64 | ctypes.c_float]:
    if isinstance(value, int):
        return ctypes.c_int64
    return ctypes.c_float if isinstance(value, float) else ctypes.c_void_p


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "omniform" / "native"


def _processor() -> str:
    """Return what the processor can do, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


def _say(line: str) -> None:
    print(f"omniform: {line}", file=sys.stderr)
