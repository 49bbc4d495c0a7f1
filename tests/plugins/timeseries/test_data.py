"""Files: what is in them decides, and what is no table is refused."""

import gzip
import pickle

import numpy as np
import pandas as pd
import pytest

from omniform.errors import DataError
from omniform_timeseries.config import ForecastConfig
from omniform_timeseries.data import MAX_COLUMNS, read_panel, read_table

CONFIG = ForecastConfig()


@pytest.fixture
def frame():
    stamps = pd.date_range("2018-01-03", periods=10, freq="h")
    return pd.DataFrame({"date": stamps, "a": np.linspace(0, 1, 10), "b": range(10)})


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet", "t.tsv", "t.semicolon"])
def test_every_format_gives_the_same_panel(tmp_path, frame, name):
    path = tmp_path / name
    if name.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep={"t.tsv": "\t", "t.semicolon": ";"}.get(name, ","))
    disguised = path.rename(tmp_path / "table.dat")
    assert read_panel(disguised, CONFIG).fingerprint() == read_panel(frame, CONFIG).fingerprint()


def test_a_parquet_index_is_the_clock(tmp_path, frame):
    frame.set_index("date").to_parquet(tmp_path / "t.parquet")
    assert read_panel(tmp_path / "t.parquet", CONFIG).names == ("a", "b")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path, frame):
    frame.to_csv(tmp_path / "t.csv", index=False, encoding="utf-8-sig")
    assert read_panel(tmp_path / "t.csv", CONFIG).names == ("a", "b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x00\x01\x02\x03", "is no text"),
        (b"caf\xe9,b\n", "is not UTF-8"),
        ("ds,a\n2018-01-01,1\n".encode("utf-16"), "is no"),
        (b"just some words\n", "one column"),
        (b"ds,a,a\n2018-01-01,1,2\n", "several columns called 'a'"),
        (b"ds,a\n", "no rows"),
        (b"ds,a\n2018-01-01,1,2,3\n2018,1\n", "no CSV table"),
        (gzip.compress(b"ds,a\n2018-01-01,1\n")[:-9], "gzip"),
        (b"PAR1 and then nothing of the kind", "Parquet"),
        (pickle.dumps({"a": 1}), "is no|is not|one column"),
        (b"ds," + b",".join(b"c%d" % k for k in range(MAX_COLUMNS)) + b"\n", "transposed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_panel(path, CONFIG)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="no file"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="is a directory"):
        read_table(tmp_path)


def test_a_column_without_a_name_is_refused(tmp_path, frame):
    frame.to_csv(tmp_path / "t.csv")  # pandas writes its row numbers under an empty header
    with pytest.raises(DataError, match=r"column 0 .* has no name"):
        read_panel(tmp_path / "t.csv", CONFIG)
    assert read_panel(tmp_path / "t.csv", ForecastConfig(series="b")).names == ("b",)


def test_the_fingerprint_sees_every_part(frame):
    prints = {
        read_panel(changed, CONFIG).fingerprint()
        for changed in (
            frame,
            frame.rename(columns={"a": "c"}),
            frame.assign(a=frame["a"] + 1e-9),
            frame.assign(date=frame["date"] + pd.Timedelta("1h")),
            frame.assign(date=frame["date"].dt.tz_localize("UTC")),
        )
    }
    assert len(prints) == 5


def test_values_cannot_be_changed(frame):
    with pytest.raises(ValueError, match="read-only"):
        read_panel(frame, CONFIG).values[0, 0] = 1


def test_the_sample_is_three_continuous_years(needs_sample):
    panel = read_panel("sample", CONFIG)
    assert panel.names == ("demand", "temperature")
    assert panel.frequency == "h"
    assert len(panel) == 26304
    assert str(panel.index[0]) == "2011-12-31 13:00:00+00:00"
    assert panel.values[0] == pytest.approx([(4382.825174 + 4263.365526) / 2, (21.4 + 21.05) / 2])
    assert panel.values.min(axis=0) == pytest.approx([2864.289569, 1.6], abs=1e-5)


def test_etth1_is_read(etth1):
    panel = read_panel(etth1, CONFIG)
    assert panel.values.shape == (17420, 7)
    assert panel.names[-1] == "OT"
    assert panel.frequency == "h"
