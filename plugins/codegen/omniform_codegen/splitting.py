"""Training, validation and test: whole packages each, near the shares of bytes that are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from omniform.errors import DataError
from omniform.task import Splits
from omniform_codegen.config import CompleteConfig
from omniform_codegen.corpus import Corpus, SourceFile
from omniform_codegen.duplicates import find_copies
from omniform_codegen.folders import group_of

__all__ = ["assign", "cap", "split_corpus"]

_FEWEST = 8  # files that a draw has at least, if there are as many


def split_corpus(corpus: Corpus, config: CompleteConfig) -> Splits[Corpus]:
    """Split by groups, whatever the order of files; copies of files are left out, so that none is on two sides.

    Raises:
        DataError: there are fewer than three groups.
    """
    files = sorted(corpus.files, key=lambda file: (file.path, file.content))
    copies = find_copies([file.content for file in files])
    files = [file for place, file in enumerate(files) if place not in copies]
    sizes: dict[str, int] = {}
    for file in files:
        sizes[file.group] = sizes.get(file.group, 0) + len(file.content)
    if len(sizes) < 3:
        raise DataError(_too_few(files, len(sizes), config))
    parts = assign(sizes, config.shares(), config.split_seed)
    train, validation, test = ([file for file in files if parts[file.group] == part] for part in range(3))
    return Splits(
        Corpus(tuple(train)),
        cap(validation, config.validation_bytes, config.split_seed),
        cap(test, config.test_bytes, config.split_seed),
    )


def assign(sizes: Mapping[str, int], shares: tuple[float, float, float], seed: int) -> dict[str, int]:
    """Return the part, 0 to 2, of each of at least three groups.

    Groups in a random order, which depends on their names alone, go to test, then validation, as long as they fit; what
    remains is for training. A group of over half of a part is not for it, lest it be all that the part measures. A part
    for which no group is small enough takes the one nearest to its size.
    """
    total = sum(sizes.values())
    left = _drawn(sizes, seed)
    parts = dict.fromkeys(sizes, 0)
    for part in (2, 1):
        target = shares[part] * total
        chosen = _fitting({name: sizes[name] for name in left}, target, most=len(left) - part)
        chosen = chosen or [min(left, key=lambda name: abs(sizes[name] - target))]
        parts |= dict.fromkeys(chosen, part)
        left = [name for name in left if parts[name] == 0]
    return parts


def cap(files: Iterable[SourceFile], most: int, seed: int) -> Corpus:
    """Return all files if they have at most so many bytes, else a random draw of them, in order of their paths.

    In a draw a file of over an eighth of that is cut behind the last line that fits, lest a few be all that is scored.
    """
    files = sorted(files, key=lambda file: file.path)
    if sum(len(file.content) for file in files) <= most:
        return Corpus(tuple(files))
    named = {f"{file.path}:{hashlib.sha256(file.content).hexdigest()}": file for file in files}
    kept, held = [], 0
    for name in _drawn(named, seed):
        file = named[name]
        if len(file.content) > most // _FEWEST:
            file = replace(file, content=_cut(file.content, most // _FEWEST))
        if held + len(file.content) <= most:
            kept.append(file)
            held += len(file.content)
    return Corpus(tuple(sorted(kept, key=lambda file: file.path)))


def _fitting(sizes: Mapping[str, int], target: float, *, most: int) -> list[str]:
    """Return at most so many groups, the first ones that fit together into `target`, none of over half of it."""
    chosen, held = [], 0
    for name, size in sizes.items():
        if len(chosen) < most and 0 < size <= min(target / 2, target - held):
            chosen.append(name)
            held += size
    return chosen


def _drawn(names: Iterable[str], seed: int) -> list[str]:
    """Return names in a random order in which any two of them stand as they would among others."""
    return sorted(names, key=lambda name: (hashlib.sha256(f"{seed}:{name}".encode()).digest(), name))


def _cut(content: bytes, most: int) -> bytes:
    return content[: content.rfind(b"\n", 0, most) + 1 or most]


def _too_few(files: list[SourceFile], groups: int, config: CompleteConfig) -> str:
    start = f"expected files of at least 3 packages to split them, got {groups}"
    if len(files) < 3:
        return f"{start} in {len(files)} files; give more files"
    if any(file.group != group_of(file.path, config.group_depth) for file in files):
        return f"{start}; give files of more repositories"
    depths = range(1, 1 + max(file.path.count("/") for file in files))
    enough = next((depth for depth in depths if len({group_of(file.path, depth) for file in files}) >= 3), 0)
    remedy = f"--group-depth {enough}" + (" names packages by more folders" if enough else " splits by files")
    return f"{start} at group depth {config.group_depth}; {remedy}"
