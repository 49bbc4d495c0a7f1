"""One thread at a time, in turn."""

import time
from itertools import groupby, pairwise
from threading import Thread

import pytest

from omniform.compare.turnstile import Interrupted, Turn, Turnstile


def work(turn: Turn, name: str, steps: int, log: list[tuple[str, float, float]]) -> None:
    with turn:
        for _ in range(steps):
            turn.enter()
            start = time.perf_counter()
            time.sleep(0.004)
            log.append((name, start, time.perf_counter()))
            turn.leave()


def run_all(turnstile: Turnstile, steps: dict[str, int]) -> list[tuple[str, float, float]]:
    log: list[tuple[str, float, float]] = []
    turns = {name: turnstile.join() for name in steps}
    threads = [Thread(target=work, args=(turns[name], name, steps[name], log)) for name in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads)
    return log


def test_turns_never_overlap_and_go_round() -> None:
    log = run_all(Turnstile(0.02), {"a": 20, "b": 20, "c": 20})
    assert all(first[2] <= second[1] for first, second in pairwise(log))
    order = [name for name, _ in groupby(name for name, _, _ in log)]
    assert order[:6] == ["a", "b", "c", "a", "b", "c"]


def test_whoever_ends_passes_the_turn_on() -> None:
    log = run_all(Turnstile(10.0), {"short": 1, "long": 12})
    assert [name for name, _, _ in log] == ["short"] + ["long"] * 12


def test_nested_entries_keep_the_turn() -> None:
    turnstile = Turnstile(0.0)
    first, second = turnstile.join(), turnstile.join()
    with first:
        turnstile.slice_seconds = 10.0
        first.enter()
        turnstile.slice_seconds = 0.0
        first.enter()  # inside already: handing on here would wait for `second`, which never comes
        first.leave()
        first.leave()
    with second:
        second.enter()
        second.leave()


def test_close_ends_the_waiting_and_the_running() -> None:
    turnstile = Turnstile(10.0)
    running, waiting = turnstile.join(), turnstile.join()
    ended: list[str] = []

    def wait() -> None:
        try:
            with waiting:
                pass
        except Interrupted:
            ended.append("waiting")

    thread = Thread(target=wait)
    thread.start()
    with running:
        turnstile.close()
        thread.join(timeout=5)
        with pytest.raises(Interrupted):
            running.enter()
    assert ended == ["waiting"]
