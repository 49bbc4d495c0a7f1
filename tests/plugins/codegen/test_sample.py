"""The standard library as a sample: what is in it, how long it takes, how it is split."""

import sysconfig
import time

import pytest

from omniform.errors import DataError
from omniform_codegen import sample
from omniform_codegen.config import CompleteConfig
from omniform_codegen.reading import read_corpus, read_files
from omniform_codegen.splitting import split_corpus

CONFIG = CompleteConfig()


@pytest.fixture(scope="module")
def timed():
    start = time.process_time()
    corpus = read_corpus("sample", CONFIG)
    splits = split_corpus(corpus, CONFIG)
    return corpus, splits, time.process_time() - start


def test_it_is_the_library_without_tests(timed):
    corpus, _, _ = timed
    paths = [file.path for file in corpus.files]
    assert {"json/decoder.py", "argparse.py", "asyncio/base_events.py", "collections/__init__.py"} <= set(paths)
    assert not any({"test", "tests", "site-packages", "dist-packages"} & set(path.split("/")) for path in paths)
    assert not {"encodings/cp1250.py", "pydoc_data/topics.py", "token.py"} & set(paths)  # generated
    assert corpus.size > 5_000_000
    assert {file.group for file in corpus.files if file.path.startswith("json/")} == {"json"}


def test_it_is_read_and_split_in_seconds(timed):
    corpus, splits, seconds = timed
    assert seconds < 10
    packages = [{file.group for file in part.files} for part in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, packages[1:])) == len(packages[1] | packages[2])
    assert not packages[0] & (packages[1] | packages[2])
    assert abs(splits.train.size / corpus.size - 0.8) < 0.02
    assert 90_000 < splits.validation.size <= 100_000
    assert 390_000 < splits.test.size <= 400_000
    assert len(packages[2]) >= 10


def test_its_licence_is_known():
    files = read_files("sample", CompleteConfig(licences="PSF-2.0"))
    assert sum(one.licence == "PSF-2.0" for one in files) > 0.9 * len(files)


def test_a_python_without_source(monkeypatch, tmp_path):
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path / "absent")})
    with pytest.raises(DataError, match="name a folder of code"):
        list(sample.sample_files())
