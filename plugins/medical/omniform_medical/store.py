"""Prepared cases of a cohort: made when first asked for, kept in memory while they fit, on disk beyond."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from multiprocessing.util import Finalize
from pathlib import Path
from threading import RLock
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from omniform_medical.cohort import Cohort
from omniform_medical.plan import Plan
from omniform_medical.prepared import Prepared
from omniform_medical.preprocessing import prepare

__all__ = ["Store", "store_for"]

_LARGEST = float(np.finfo(np.float16).max)


class Store:
    """The cases of a cohort as a plan wants them.

    A case that no longer fits `memory` is written to a temporary folder of this process, which goes with the store,
    and mapped: images in float16, files named by number. Intensities are rounded to float16 in memory too: they are
    the same wherever a case ended up, whatever the order in which cases were asked for.

    A store may be pickled; the copy prepares anew. Arrays are shared with whoever asks and not to be written to.
    """

    def __init__(self, cohort: Cohort, plan: Plan, *, memory: int) -> None:
        """Prepare nothing yet; keep at most `memory` bytes of arrays."""
        self.cohort = cohort
        self.plan = plan
        self.memory = memory
        self._cases: dict[int, Prepared] = {}
        self._bytes = 0
        self._folder: Path | None = None
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self.cohort)

    def __getitem__(self, index: int) -> Prepared:
        """Return a case.

        Raises:
            IndexError: there is none.
            DataError: its files cannot be read.
        """
        index = range(len(self))[index]
        with self._lock:
            if index not in self._cases:
                name = self.cohort.cases[index].name
                self._cases[index] = self._keep(prepare(self.cohort.read(index), self.plan, name), index)
            return self._cases[index]

    def __getstate__(self) -> dict[str, Any]:
        return {"cohort": self.cohort, "plan": self.plan, "memory": self.memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def _keep(self, prepared: Prepared, index: int) -> Prepared:
        half = np.clip(prepared.image, -_LARGEST, _LARGEST, out=prepared.image).astype(np.float16)
        arrays = [each for each in (prepared.image, prepared.label, prepared.truth) if each is not None]
        size = sum(each.nbytes for each in arrays)
        if self._bytes + size <= self.memory:
            self._bytes += size
            prepared.image[:] = half
            return prepared
        label, truth = (
            None if each is None else self._map(each, f"{index}-{name}")
            for name, each in (("label", prepared.label), ("truth", prepared.truth))
        )
        return replace(prepared, image=self._map(half, f"{index}-image"), label=label, truth=truth)

    def _map(self, array: np.ndarray, name: str) -> np.ndarray:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="omniform-"))
            # unlike a finalizer of weakref's, it runs at the end of a worker too, and never in a fork of the owner
            Finalize(self, shutil.rmtree, args=(self._folder, True), exitpriority=0)
        path = self._folder / f"{name}.npy"
        partial = self._folder / f"{name}.{os.getpid()}.npy"  # forks share the folder
        np.save(partial, array)
        partial.replace(path)
        return np.load(path, mmap_mode="c")  # torch warns of arrays that may not be written to


_stores: WeakValueDictionary[tuple[int, Plan], Store] = WeakValueDictionary()
_stores_lock = RLock()


def store_for(cohort: Cohort, plan: Plan, memory: int) -> Store:
    """Return the store of this very cohort and plan that somebody still holds, else a new one.

    So training and the validations between its steps prepare cases once. It lives as long as its holders.
    """
    with _stores_lock:
        # a store holds its cohort, so the id is not another's while the store lives
        key = (id(cohort), plan)
        if (store := _stores.get(key)) is None:
            store = _stores[key] = Store(cohort, plan, memory=memory)
        return store
