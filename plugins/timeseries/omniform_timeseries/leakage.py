"""Covariates that tell the future: found in the training rows, named and refused.

What a series does beyond its season and its recent past is its innovation. A covariate whose innovation is that of the
target, at a row where it must not know it yet, was made from the target.

T = rows, C = series, K = covariates, S = shifts
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from omniform.configuration import split_names
from omniform.errors import DataError
from omniform_timeseries.config import PanelConfig
from omniform_timeseries.data import Panel
from omniform_timeseries.windows import borders, season_for

__all__ = ["Leak", "check_leakage", "find_leaks"]

_CERTAIN = 0.98
_MOST_ROWS = 4096
_FEWEST_PAIRS = 40
_ORDER = 8  # of the autoregression that takes the recent past away
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Leak:
    """A covariate that tells a series.

    Attributes:
        lead: rows by which it comes before the value that it tells; negative where it comes after.
        share: of the innovation's variance that it explains, in the half of the training rows where it explains less.
    """

    kind: Literal["past", "known"]
    covariate: str
    series: str
    lead: int
    share: float

    def __str__(self) -> str:
        if self.lead > 0:
            what = f"tells series {self.series!r} {self.lead} rows before it happens"
        elif self.lead == 0:
            what = f"tells series {self.series!r} at the same row, where it is still to be forecast"
        else:
            what = f"is series {self.series!r} of {-self.lead} rows before, which a forecast cannot know further ahead"
        remedy = "" if self.kind == "past" or self.lead > 0 else "name it with --past, or "
        return (
            f"{self.kind} covariate {self.covariate!r} {what} (R2 {self.share:.3f} of what its own past leaves open, "
            f"in the training rows); leave it out, {remedy}use --allow-leak if it really is known by then"
        )


def check_leakage(panel: Panel, config: PanelConfig) -> None:
    """Refuse covariates that tell the target after the fact, but for those of `config.allow_leak`.

    Says once which known covariates end with the series, so that a forecast will need them given.

    Raises:
        DataError: names covariate, series and rows, or a name of `allow_leak` is no covariate.
    """
    own = panel.covariates
    allowed = split_names(config.allow_leak) if config.allow_leak else ()
    unknown = [name for name in allowed if name not in (*own.past_names, *own.known_names)]
    if unknown:
        raise DataError(f"--allow-leak names {unknown[0]!r}, which is no covariate")
    _say_reach(panel, config)
    for leak in find_leaks(panel, config):
        if leak.covariate not in allowed:
            raise DataError(str(leak))


def find_leaks(panel: Panel, config: PanelConfig) -> Iterator[Leak]:
    """Yield each covariate's first sign that it was made from a series, as far as the training rows show.

    A past covariate must not tell a later row of a series. A known one must not tell the same row, nor a later one,
    nor one that is less than the horizon before. Both halves of the training rows (the latest 4096 of them) must
    agree: one event is no proof. Too few rows prove nothing. Covariates with revisions are passed over: windows see
    only what had been issued.
    """
    own = panel.covariates
    train = borders(panel.index, config.split)[0]
    rows = slice(max(0, train - _MOST_ROWS), train)
    season = season_for(panel, config)
    horizon = getattr(config, "horizon", 1)
    furthest = max(horizon, season)
    sources: list[tuple[Literal["past", "known"], str, np.ndarray, np.ndarray]] = []
    for name in config.covariates("past"):
        sources.append(("past", name, own.past[rows, :, own.past_names.index(name)], np.arange(1, furthest + 1)))
    for name in (name for name in config.covariates("known") if name not in own.vintages):
        cells = own.known[rows, :, own.known_names.index(name)]
        sources.append(("known", name, cells, np.arange(1 - horizon, furthest + 1)))
    if not sources:
        return
    targets = _innovations(panel.values[rows], season)
    for kind, name, cells, leads in sources:
        shared = cells.strides[1] == 0
        told = _told(_innovations(cells[:, :1] if shared else cells, season), targets, leads)  # (S, C)
        lead, column = np.unravel_index(np.argmax(told), told.shape)
        if told[lead, column] > _CERTAIN:
            yield Leak(kind, name, panel.names[column], int(leads[lead]), float(told[lead, column]))


def _innovations(values: np.ndarray, season: int) -> np.ndarray:
    """Return what season and recent past leave open of each column, `(T, C)`; NaN where one cannot tell.

    It is the residual of an autoregression of seasonal differences, fitted by least squares.
    """
    innovations = np.full(values.shape, np.nan)
    lag = season if 4 * season < len(values) else 1
    change = values[lag:] - values[:-lag]
    if len(change) <= 4 * _ORDER:
        return innovations
    lags = np.lib.stride_tricks.sliding_window_view(change, _ORDER + 1, axis=0)  # (T - lag - order, C, order + 1)
    for column in range(values.shape[1]):
        whole = np.flatnonzero(~np.isnan(lags[:, column]).any(axis=1))
        if len(whole) <= 2 * _ORDER:
            continue
        earlier, now = lags[whole, column, :-1], lags[whole, column, -1]
        design = np.column_stack([earlier, np.ones(len(now))])
        left = now - design @ np.linalg.lstsq(design, now, rcond=None)[0]
        seen = values[~np.isnan(values[:, column]), column]
        if left.std() > 1e-9 * max(float(seen.std()), float(np.abs(seen).max()) * 1e-6, 1e-300):
            innovations[whole + lag + _ORDER, column] = left
    return innovations


def _told(covariate: np.ndarray, target: np.ndarray, leads: np.ndarray) -> np.ndarray:
    """Return the squared correlation of `covariate[t - lead]` with `target[t]`, `(S, C)`, the lesser of both halves."""
    middle = len(target) // 2
    halves = [
        _squared_correlation(covariate[part], target[part], leads) for part in (slice(middle), slice(middle, None))
    ]
    return np.minimum(*halves)


def _squared_correlation(covariate: np.ndarray, target: np.ndarray, leads: np.ndarray) -> np.ndarray:
    """Return squared correlations over the rows that both have, `(S, C)`; 0 where those are too few."""
    size = 1 << int(2 * len(target) - 1).bit_length()

    def transformed(cells: np.ndarray) -> np.ndarray:
        return np.fft.rfft(cells, size, axis=0)

    def products(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the sum over t of first[t - lead] second[t]."""
        return np.fft.irfft(first.conj() * second, size, axis=0)[leads % size]

    own = [np.nan_to_num(cells / _size_of(cells)) for cells in (covariate, target)]
    seen = [(~np.isnan(cells)).astype(np.float64) for cells in (covariate, target)]
    both = products(*(transformed(cells) for cells in own))
    spread = products(transformed(own[0] ** 2), transformed(seen[1]))
    spread = spread * products(transformed(seen[0]), transformed(own[1] ** 2))
    count = products(*(transformed(cells) for cells in seen)).round()
    enough = (count >= _FEWEST_PAIRS) & (spread > 1e-6 * np.square(count)) & (np.abs(leads)[:, None] < len(target))
    return np.where(enough, np.square(both) / np.where(enough, spread, 1.0), 0.0)


def _size_of(cells: np.ndarray) -> np.ndarray:
    """Return the root mean square of each column, 1 for one without any."""
    seen = ~np.isnan(cells)
    size = np.sqrt(np.square(np.where(seen, cells, 0.0)).sum(axis=0) / seen.sum(axis=0).clip(min=1))
    return np.where(size > 0, size, 1.0)


def _say_reach(panel: Panel, config: PanelConfig) -> None:
    own, rows = panel.covariates, len(panel)
    if not getattr(config, "horizon", 0):
        return
    ending = [
        name
        for name in config.covariates("known")
        if name not in own.vintages and np.isnan(own.known[rows:, :, own.known_names.index(name)]).all()
    ]
    if ending:
        _log.warning(
            "%s end with the series; a forecast from there needs them given by --known-data", ", ".join(ending)
        )
