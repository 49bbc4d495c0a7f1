"""What was added is gathered, thinned and asked for; nothing else is."""

from __future__ import annotations

from omniform_codegen.history import Change, Commit
from omniform_codegen.personalization.changes import added_bytes, draw_gaps, gather, thinned

FILE = b"import os\n\nx = 1\n    y = some_call(x)  \nz\nlast = y\n"


def commit(place: int, *ranges: tuple[int, int], content: bytes = FILE) -> Commit:
    return Commit(f"{place:040x}", place, "hash", (Change("a.py", content, ranges),))


def test_files_know_their_commits() -> None:
    two = Commit("f" * 40, 9, "hash", (Change("a.py", FILE, ((0, 10),)), Change("b.py", FILE, ())))
    additions = gather([commit(0, (0, 4)), two])
    assert additions.owners.tolist() == [0, 1, 1]
    assert additions.count == 2
    assert [file.path for file in additions.files.files] == ["a.py", "a.py", "b.py"]
    assert added_bytes(two) == 10


def test_gaps_are_added_lines_without_blanks_around() -> None:
    start, stop = FILE.index(b"x = 1"), FILE.index(b"last")
    additions = gather([commit(0, (start, stop))])
    gaps = draw_gaps(additions, count=9, seed=0)
    assert [FILE[gap.start : gap.stop] for gap in gaps] == [b"x = 1", b"y = some_call(x)"]  # z is too short
    assert {gap.kind for gap in gaps} == {"line"}


def test_commits_take_turns() -> None:
    many = b"".join(b"line_%d = 0\n" % i for i in range(50))
    commits = [commit(0, (0, len(many)), content=many), commit(1, (0, 9)), commit(2, (11, 17))]
    additions = gather(commits)
    owners = [additions.owners[gap.place] for gap in draw_gaps(additions, count=5, seed=3)]
    assert sorted(owners) == [0, 0, 0, 1, 2]
    assert draw_gaps(additions, count=5, seed=3) == draw_gaps(additions, count=5, seed=3)


def test_thinning_keeps_what_is_spread_over_time() -> None:
    large = commit(50, (0, len(FILE)))
    commits = [commit(place, (0, 10)) for place in range(40)] + [large]
    assert thinned(commits, 10_000) == tuple(commits)
    kept = thinned(commits, 100)
    assert [one.time for one in kept] == list(range(0, 40, 4))
    assert thinned([commit(0)], 100) == ()
