"""Parts that are named stay, patients are not torn, every class is everywhere."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from omniform.errors import DataError
from omniform_medical.classification.config import ClassifyConfig
from omniform_medical.classification.splitting import classes_of, split_album

CONFIG = ClassifyConfig(split="0.6,0.2,0.2")


def names(splits):
    return [set(part.names) for part in (splits.train, splits.validation, splits.test)]


def test_every_class_has_its_share_in_every_part(make_album):
    album = make_album(90)
    splits = split_album(album, CONFIG)
    assert [len(part) for part in names(splits)] == [54, 18, 18]
    assert set.union(*names(splits)) == set(album.names)
    for part in (splits.train, splits.validation, splits.test):
        assert len(set(np.bincount(part.targets(("across", "down", "slanted"))))) == 1
    assert names(split_album(album, CONFIG)) == names(splits)
    assert names(split_album(album, replace(CONFIG, split_seed=1))) != names(splits)


def test_a_patient_is_in_one_part(make_album):
    rng = np.random.default_rng(0)
    album = make_album(120)
    album = replace(album, patients=tuple(f"p{n}" for n in rng.integers(0, 25, 120)))
    splits = split_album(album, CONFIG)
    parts = [set(part.patients) for part in (splits.train, splits.validation, splits.test)]
    assert not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])
    assert [abs(len(part) - want) <= 8 for part, want in zip(names(splits), (72, 24, 24), strict=True)] == [True] * 3
    torn = replace(album, parts=("train",) * 60 + ("test",) * 60)
    with pytest.raises(DataError, match="a patient has pictures in"):
        split_album(torn, CONFIG)


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "validation", "test"), ("train", "validation")])
def test_named_parts_stay_and_others_are_drawn(make_album, parts):
    album = make_album(60)
    album = replace(album, parts=tuple(parts[i // 6 % len(parts)] for i in range(60)))
    told = dict(zip(("train", "validation", "test"), names(split_album(album, CONFIG)), strict=True))
    for name in set(parts) - {"train"}:
        assert told[name] == {n for n, part in zip(album.names, album.parts, strict=True) if part == name}
    assert all(told.values())


def test_what_cannot_be_split_is_refused(make_album):
    album = make_album(12)
    few = replace(album, labels=("rare", *album.labels[1:]))
    with pytest.raises(DataError, match="among the classes"):
        split_album(few, replace(CONFIG, classes="across,down"))
    with pytest.raises(DataError, match="at least two classes"):
        classes_of(replace(album, labels=("one",) * 12))
    tests_only = replace(few, parts=("test",) * 6 + ("train",) * 6)
    with pytest.raises(DataError, match="'rare'"):
        split_album(tests_only, replace(CONFIG, classes="across,down,slanted,rare"))


def test_copies_across_parts_are_told(make_album, caplog):
    album = make_album(30)
    pixels = album.pixels.copy()
    pixels[1] = pixels[16]
    copied = replace(album, pixels=pixels, parts=("train",) * 15 + ("test",) * 15)
    with caplog.at_level(logging.WARNING):
        split_album(copied, CONFIG)
    assert "1 of 15 test pictures" in caplog.text
