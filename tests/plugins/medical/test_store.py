from __future__ import annotations

import gc
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from omniform_medical import store as module
from omniform_medical.cohort import Case, Cohort
from omniform_medical.plan import Intensity, Plan
from omniform_medical.preprocessing import prepare
from omniform_medical.store import Store, store_for

PLAN = Plan(
    spacing=(1.0, 1.0, 1.0),
    patch=(8, 8, 8),
    strides=(),
    normalization=("zscore",),
    intensities=(Intensity(low=0, high=1, mean=0, std=1),),
    batch=2,
)
SHAPE = (7, 6, 5)
BYTES = 7 * 6 * 5 * (4 + 1 + 1)
PLENTY = 10**9


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    random = np.random.default_rng(0)
    cases = []
    for name in ("anna", "bert", "carl"):
        image, label = tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_label.nii.gz"
        nib.save(nib.Nifti1Image(random.normal(5, 2, SHAPE).astype(np.float32), np.eye(4)), image)
        nib.save(nib.Nifti1Image(random.integers(0, 2, SHAPE).astype(np.uint8), np.eye(4)), label)
        cases.append(Case(name, (image,), label))
    return Cohort("here", tuple(cases), ("mr",), ("background", "organ"), (0, 1))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def count_preparations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def counted(volume, plan, name):
        names.append(name)
        return prepare(volume, plan, name)

    monkeypatch.setattr(module, "prepare", counted)
    return names


def test_cases_are_prepared_once_when_asked_for(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    names = count_preparations(monkeypatch)
    store = Store(cohort, PLAN, memory=PLENTY)
    assert len(store) == 3
    assert names == []
    assert store[1] is store[1] is store[-2]
    assert names == ["bert"]
    assert [each.name for each in store] == ["anna", "bert", "carl"]
    assert sorted(names) == ["anna", "bert", "carl"]
    with pytest.raises(IndexError):
        store[3]


def test_values_are_the_prepared_ones_to_half_precision(cohort: Cohort) -> None:
    store = Store(cohort, PLAN, memory=PLENTY)
    exact = prepare(cohort.read(0), PLAN, "anna")
    assert store[0].image.dtype == np.float32
    np.testing.assert_array_equal(store[0].image, exact.image.astype(np.float16))
    np.testing.assert_array_equal(store[0].label, exact.label)
    np.testing.assert_array_equal(store[0].truth, exact.truth)


def test_what_does_not_fit_is_mapped_and_the_same(cohort: Cohort, temporary: Path) -> None:
    store = Store(cohort, PLAN, memory=2 * BYTES)
    beside = Store(cohort, PLAN, memory=PLENTY)
    for index in range(3):
        mapped = isinstance(store[index].image, np.memmap)
        assert mapped == (index == 2)
        for name in ("image", "label", "truth"):
            np.testing.assert_array_equal(getattr(store[index], name), getattr(beside[index], name))
    assert store[2].image.dtype == np.float16
    assert store[2] is store[2]
    files = sorted(path.name for path in temporary.rglob("*.npy"))
    assert files == ["2-image.npy", "2-label.npy", "2-truth.npy"]  # no name of a case


def test_the_folder_goes_with_the_store(cohort: Cohort, temporary: Path) -> None:
    store = Store(cohort, PLAN, memory=0)
    store[0]
    assert list(temporary.iterdir())
    del store
    gc.collect()
    assert not list(temporary.iterdir())


def test_the_folder_goes_with_the_process(cohort: Cohort, temporary: Path) -> None:
    with (temporary.parent / "store.pickle").open("wb") as file:
        pickle.dump(Store(cohort, PLAN, memory=0), file)
    code = (
        "import pickle, sys, tempfile, pathlib; tempfile.tempdir = sys.argv[2];"
        "store = pickle.load(open(sys.argv[1], 'rb')); store[0];"
        "print(len(list(pathlib.Path(sys.argv[2]).rglob('*.npy'))))"
    )
    command = [sys.executable, "-c", code, str(temporary.parent / "store.pickle"), str(temporary)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"
    assert not list(temporary.iterdir())


def test_a_fork_neither_takes_the_folder_away_nor_leaves_one(cohort: Cohort, temporary: Path) -> None:
    store = Store(cohort, PLAN, memory=0)
    before = store[0].image.copy()
    worker = get_context("fork").Process(target=_touch, args=(store,))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    np.testing.assert_array_equal(store[0].image, before)
    assert len(list(temporary.iterdir())) == 1
    empty = Store(cohort, PLAN, memory=0)
    worker = get_context("fork").Process(target=_touch, args=(empty,))
    worker.start()
    worker.join()
    assert len(list(temporary.iterdir())) == 1


def test_a_pickled_store_prepares_anew(cohort: Cohort) -> None:
    store = Store(cohort, PLAN, memory=PLENTY)
    image = store[0].image
    data = pickle.dumps(store)
    assert len(data) < 5000
    again = pickle.loads(data)
    assert again.memory == PLENTY
    np.testing.assert_array_equal(again[0].image, image)


def test_threads_prepare_a_case_once(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    names = count_preparations(monkeypatch)
    store = Store(cohort, PLAN, memory=PLENTY)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda index: store[index % 3], range(24)))
    assert sorted(names) == ["anna", "bert", "carl"]
    assert all(each is store[index % 3] for index, each in enumerate(found))


def test_a_case_without_label_has_no_truth(cohort: Cohort) -> None:
    cases = tuple(replace(case, label=None) for case in cohort.cases)
    for memory in (0, PLENTY):
        case = Store(replace(cohort, cases=cases), PLAN, memory=memory)[0]
        assert case.label is None
        assert case.truth is None


def test_extreme_values_stay_finite(cohort: Cohort) -> None:
    scaled = replace(PLAN, normalization=("ct",), intensities=(Intensity(low=-1e9, high=1e9, mean=0, std=1e-6),))
    for memory in (0, PLENTY):
        assert np.isfinite(Store(cohort, scaled, memory=memory)[0].image).all()


@pytest.mark.parametrize("other", [lambda c, p: (c.take([0]), p), lambda c, p: (c, replace(p, batch=3))])
def test_a_cohort_and_plan_have_one_store_as_long_as_it_is_held(
    cohort: Cohort, other: Callable[[Cohort, Plan], tuple[Cohort, Plan]]
) -> None:
    store = store_for(cohort, PLAN, PLENTY)
    assert store_for(cohort, replace(PLAN), PLENTY) is store
    another, plan = other(cohort, PLAN)
    assert store_for(another, plan, PLENTY) is not store
    store[0]
    del store
    gc.collect()
    assert store_for(cohort, PLAN, PLENTY)._cases == {}


def _touch(store: Store) -> None:
    assert [each.name for each in store] == ["anna", "bert", "carl"]
