"""Series on one regular clock, and the files they come in."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from omniform.errors import DataError
from omniform_timeseries.sample import load_sample

if TYPE_CHECKING:
    from omniform_timeseries.config import ForecastConfig

__all__ = ["MAX_COLUMNS", "Panel", "read_panel", "read_table"]

MAX_COLUMNS = 4096
"""More columns than this are far more often a transposed table than as many series."""


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Several series that share every stamp.

    Attributes:
        values: `(T, C)` float64, finite, read-only.
        index: `T` increasing stamps with a frequency, without time zone or in UTC.
        names: the `C` series.
    """

    values: np.ndarray
    index: pd.DatetimeIndex
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        self.values.setflags(write=False)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def frequency(self) -> str:
        """The pandas frequency, such as `h` or `MS`."""
        return str(self.index.freqstr)

    def tail(self, rows: int) -> Panel:
        """Return the last rows."""
        return Panel(self.values[-rows:], self.index[-rows:], self.names)

    def frame(self) -> pd.DataFrame:
        """Return the wide table: `ds`, and a column for each series."""
        frame = pd.DataFrame(self.values, columns=list(self.names))
        frame.insert(0, "ds", self.index, allow_duplicates=True)
        return frame

    def fingerprint(self) -> str:
        """Return a SHA-256 of names, stamps (microseconds) and values."""
        digest = hashlib.sha256(repr((self.names, self.frequency, str(self.index.tz))).encode())
        digest.update(self.index.as_unit("us").asi8.astype("<i8").tobytes())
        digest.update(np.ascontiguousarray(self.values, dtype="<f8").tobytes())
        return digest.hexdigest()


def read_panel(source: str | Path | pd.DataFrame, config: ForecastConfig) -> Panel:
    """Read `"sample"`, a file or a data frame into a `Panel`; `omniform_timeseries.frame` states the rules."""
    from omniform_timeseries.frame import panel_from_frame

    frame = source if isinstance(source, pd.DataFrame) else read_table(source)
    return panel_from_frame(frame, config)


def read_table(source: str | Path) -> pd.DataFrame:
    """Read a table from CSV, gzipped CSV or Parquet; what the file is decides, not what it is called.

    CSV is UTF-8 with a header; the separator is the comma, semicolon or tab that the header holds most often.

    Raises:
        DataError: the file is missing, empty, no table, too wide, or has two columns of one name.
    """
    if str(source) == "sample":
        return load_sample()
    path = Path(source)
    if not path.exists():
        raise DataError(f"no file {str(path)!r}; expected a CSV, CSV.gz or Parquet file, or the word sample")
    if not path.is_file():
        raise DataError(f"{str(path)!r} is a directory; expected a CSV, CSV.gz or Parquet file")
    with path.open("rb") as file:
        magic = file.read(4)
    if not magic:
        raise DataError(f"{str(path)!r} is empty; expected a table with a time column and numeric columns")
    return _read_parquet(path) if magic == b"PAR1" else _read_csv(path, _text(path, magic))


def _text(path: Path, magic: bytes) -> str:
    try:
        content = gzip.decompress(path.read_bytes()) if magic[:2] == b"\x1f\x8b" else path.read_bytes()
        if b"\0" in content:
            raise DataError(f"{str(path)!r} is no text; expected CSV in UTF-8, CSV.gz or Parquet")
        return content.decode("utf-8-sig")
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{str(path)!r} is no complete gzip file ({error}); fetch or compress it again") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{str(path)!r} is not UTF-8 (byte {error.start}); save it as CSV in UTF-8") from error


def _read_csv(path: Path, text: str) -> pd.DataFrame:
    first = text.lstrip("\r\n").partition("\n")[0].rstrip("\r")
    separator = max(",;\t", key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
    _check_header(path, header)
    try:
        with warnings.catch_warnings():
            # pandas only warns when it drops what stands beyond the header's columns
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                io.StringIO(text), sep=separator, skipinitialspace=True, index_col=False, low_memory=False
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, ValueError) as error:
        raise DataError(f"{str(path)!r} is no CSV table: {str(error).strip().splitlines()[-1]}") from error


def _check_header(path: Path, header: list[str]) -> None:
    if len(header) < 2:
        raise DataError(
            f"{str(path)!r} has one column in its header; expected a time column and at least one numeric column, "
            "separated by commas, semicolons or tabs"
        )
    if len(header) > MAX_COLUMNS:
        raise DataError(f"{str(path)!r} has {len(header)} columns, expected at most {MAX_COLUMNS}; is it transposed?")
    repeated = next((name for name in header if name and header.count(name) > 1), None)
    if repeated is not None:
        raise DataError(f"{str(path)!r} has several columns called {repeated!r}; rename all but one")


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        columns = parquet.read_schema(path).names
        if len(columns) > MAX_COLUMNS:
            raise DataError(f"{str(path)!r} has {len(columns)} columns, expected at most {MAX_COLUMNS}")
        return pd.read_parquet(path, engine="pyarrow")
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{str(path)!r} is no complete Parquet file: {str(error).splitlines()[0]}") from error
