import re
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from omniform.errors import ConfigError, DataError
from omniform_medical.cohort import Case, Cohort
from omniform_medical.config import CohortConfig
from omniform_medical.splitting import patients, split_cohort


def _cohort(*names: str, held_out: tuple[str, ...] = ()) -> Cohort:
    cases = tuple(Case(name, (Path(name),)) for name in sorted(names))
    return Cohort("set", cases, ("CT",), ("background", "tumour"), (0, 1), frozenset(held_out))


def _numbered(count: int, **keywords: tuple[str, ...]) -> Cohort:
    return _cohort(*(f"case_{number:03}" for number in range(count)), **keywords)


def _names(cohort: Cohort) -> list[str]:
    return [case.name for case in cohort.cases]


def test_the_last_fifth_is_the_test() -> None:
    splits = split_cohort(_numbered(200), CohortConfig())
    assert _names(splits.test) == [f"case_{number:03}" for number in range(160, 200)]
    assert (len(splits.train), len(splits.validation)) == (128, 32)


def test_folds_cover_the_rest_once_and_are_always_alike() -> None:
    cohort = _numbered(23)
    folds = [split_cohort(cohort, CohortConfig(fold=fold)) for fold in range(5)]
    validated = [name for splits in folds for name in _names(splits.validation)]
    assert sorted(validated) == _names(cohort)[:18]
    assert all(_names(splits.test) == _names(cohort)[18:] for splits in folds)
    assert _names(folds[0].validation) == ["case_001", "case_006", "case_008", "case_010"]
    assert _names(folds[0].validation) != _names(cohort)[:4]


def test_names_are_the_test() -> None:
    splits = split_cohort(_numbered(20), CohortConfig(test="case_003, case_001"))
    assert _names(splits.test) == ["case_001", "case_003"]
    splits = split_cohort(_cohort(*(f"0.{number}" for number in range(20))), CohortConfig(test="0.3"))
    assert _names(splits.test) == ["0.3"]


def test_held_out_cases_are_the_test_unless_one_is_asked_for() -> None:
    cohort = _numbered(20, held_out=("case_000", "case_007"))
    assert _names(split_cohort(cohort, CohortConfig()).test) == ["case_000", "case_007"]
    assert _names(split_cohort(cohort, CohortConfig(test="0.1")).test) == ["case_018", "case_019"]


def test_a_patient_of_whom_a_case_is_tested_is_tested_whole() -> None:
    names = [f"p{patient}_{visit}" for patient in range(10) for visit in ("a", "b")]
    splits = split_cohort(_cohort(*names), CohortConfig(test="p3_b", group=r"^(p\d+)_"))
    assert _names(splits.test) == ["p3_a", "p3_b"]
    held = split_cohort(_cohort(*names, held_out=("p9_a",)), CohortConfig(group=r"p\d+"))
    assert _names(held.test) == ["p9_a", "p9_b"]


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 99)), min_size=1, max_size=40, unique=True),
    st.integers(2, 6),
    st.integers(0, 5),
    st.sampled_from(["0.2", "0.05", "0.7"]),
    st.integers(0, 3),
)
def test_every_case_is_in_one_part_and_so_is_every_patient(
    visits: list[tuple[int, int]], folds: int, fold: int, test: str, held: int
) -> None:
    assume(fold < folds)
    names = [f"{patient:02}-{visit:02}" for patient, visit in visits]
    cohort = _cohort(*names, held_out=tuple(names[:held]))
    try:
        splits = split_cohort(cohort, CohortConfig(folds=folds, fold=fold, test=test, group=r"^\d+"))
    except DataError:
        # only where patients are too few: testing takes what is asked for, and whole patients at that
        asked = names[:held] if held and test == "0.2" else sorted(names)[-max(1, round(float(test) * len(names))) :]
        assert len({name[:2] for name in names} - {name[:2] for name in asked}) < folds
        return
    parts = [_names(part) for part in (splits.train, splits.validation, splits.test)]
    assert sorted(chain(*parts)) == sorted(names)
    assert all(parts)
    owners = [{name[:2] for name in part} for part in parts]
    assert sum(map(len, owners)) == len(set().union(*owners))


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        (CohortConfig(test="case_00"), ConfigError, "got 'case_00'; did you mean"),
        (CohortConfig(test="zebra"), ConfigError, "cases are 'case_000', 'case_001', 'case_002' and 3 more"),
        (CohortConfig(test=""), ConfigError, "a share such as 0.2"),
        (CohortConfig(test="1.5"), ConfigError, "above 0 and below 1"),
        (CohortConfig(test="0.9"), DataError, "at least 5 patients for --folds 5 besides the 5 cases"),
        (CohortConfig(folds=6), DataError, "got 5; give fewer --folds"),
        (CohortConfig(group="("), ConfigError, "regular expression, got '('"),
        (CohortConfig(group=r"^p\d"), DataError, "finds no patient in the names of the cases 'case_000'"),
        (CohortConfig(group="x*"), DataError, "finds no patient"),
    ],
)
def test_what_cannot_be_split_is_refused_in_one_line(config: CohortConfig, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        split_cohort(_numbered(6), config)


def test_the_first_group_or_the_whole_match_is_the_patient() -> None:
    cohort = _cohort("sub-01_ses-1", "sub-02_ses-1")
    assert patients(cohort, "") == ["sub-01_ses-1", "sub-02_ses-1"]
    assert patients(cohort, r"sub-\d+") == ["sub-01", "sub-02"]
    assert patients(cohort, r"sub-(\d+)_(ses)") == ["01", "02"]
