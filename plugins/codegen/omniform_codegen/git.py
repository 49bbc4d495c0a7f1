"""Questions to the `git` executable, put so that nothing of the repository is ever run.

A repository's own settings can name programs (hooks, file monitors, diff drivers, filters, transports). Only plumbing
commands that read objects are called, without a shell, with all of these turned off, and with an end in time.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from omniform.errors import DataError

__all__ = ["Git"]

_SECONDS = 300
_OPTIONS = (
    *("--no-pager", "--no-replace-objects", "--no-optional-locks"),
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.attributesFile=/dev/null"),
    *("-c", "protocol.allow=never", "-c", "protocol.ext.allow=never", "-c", "log.showSignature=false"),
    *("-c", "gc.auto=0", "-c", "maintenance.auto=false"),
)
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_OPTIONAL_LOCKS": "0",
    "LC_ALL": "C",
}


@dataclass(frozen=True, slots=True)
class Git:
    """One repository: a folder with `.git`, or a bare one. Folders above it are not searched."""

    folder: Path

    def ask(self, *words: str, stdin: bytes = b"") -> bytes:
        """Return what a command writes.

        Raises:
            DataError: git is absent, refuses, fails or takes too long.
        """
        command = ["git", *_OPTIONS, "-C", str(self.folder), *words]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environment |= _ENVIRONMENT | {"GIT_CEILING_DIRECTORIES": str(self.folder.resolve().parent)}
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, env=environment, timeout=_SECONDS)
        except FileNotFoundError:
            raise DataError("git is not installed or not on PATH; it is needed to read a history") from None
        except subprocess.TimeoutExpired:
            raise DataError(
                f"git {words[0]} took over {_SECONDS} s; give a smaller repository or fewer commits"
            ) from None
        if done.returncode:
            raise DataError(self._explained(done.stderr.decode("utf-8", "replace")))
        return done.stdout

    def contents(self, names: Iterable[str], *, largest: int) -> Mapping[str, bytes]:
        """Return the blobs of these object names; those of over `largest` bytes are left out.

        Raises:
            DataError: the clone lacks one.
        """
        asked = "".join(f"{name}\n" for name in sorted(set(names))).encode()
        sizes = [line.split() for line in self.ask("cat-file", "--batch-check", stdin=asked).splitlines()]
        if any(len(words) < 3 for words in sizes):
            raise DataError(f"the clone {self.folder.name!r} lacks contents of files; clone it whole, without a filter")
        small = b"".join(words[0] + b"\n" for words in sizes if words[1] == b"blob" and int(words[2]) <= largest)
        answer, contents, place = self.ask("cat-file", "--batch", stdin=small), {}, 0
        while place < len(answer):
            name, _, size = answer[place : (start := answer.index(b"\n", place) + 1)].split()
            contents[name.decode()] = answer[start : start + int(size)]
            place = start + int(size) + 1
        return contents

    def _explained(self, complaint: str) -> str:
        name = self.folder.name
        if "dubious ownership" in complaint or "safe.directory" in complaint:
            remedy = f"git config --global --add safe.directory {self.folder.resolve()}"
            return f"git refuses {name!r}, which another user owns; if you trust it: {remedy}"
        if "not a git repository" in complaint:
            return f"{name!r} is no git repository; expected the folder that holds .git"
        if "Needed a single revision" in complaint:
            return f"{name!r} has no commit yet; expected a repository with a history"
        reason = (complaint.strip() or "no reason given").splitlines()[-1]
        return f"git cannot read {name!r}: {reason}; check it with git fsck"
