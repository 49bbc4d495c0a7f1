"""Histories that were written with git, with known dates, are read and cut."""

import difflib
import os
import subprocess
from itertools import pairwise

import pytest

from omniform.errors import DataError
from omniform_codegen.config import CompleteConfig
from omniform_codegen.history import read_history, split_history
from omniform_codegen.revisions import name_author

CONFIG = CompleteConfig()
SHARES = (0.5, 0.25, 0.25)
START = 1_600_000_000
DAY = 86_400
LEAK = "gh" + "p_" + "a1B2c3D4e5F6g7H8i9" * 2


class Repo:
    """A repository in which a day passes between commits."""

    def __init__(self, folder):
        self.folder = folder
        self.days = 0
        folder.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *words, author="ann"):
        date = f"{START + DAY * self.days} +0000"
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": author,
            "GIT_AUTHOR_EMAIL": f"{author}@example.org",
            "GIT_COMMITTER_NAME": "merger",
            "GIT_COMMITTER_EMAIL": "merger@example.org",
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_DATE": date,
        }
        command = ["git", "-C", str(self.folder), *words]
        return subprocess.run(command, check=True, capture_output=True, env=environment).stdout.decode().strip()

    def commit(self, files, *, author="ann"):
        """Write files, or delete those that are `None`; return the commit's name."""
        for path, content in files.items():
            file = self.folder / path
            if content is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.days += 1
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "message", author=author)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path):
    return Repo(tmp_path / "repo")


def module(name, lines=20):
    return "".join(f"{name}_{n} = '{name} {n * n}'\n" for n in range(lines))


def read(repo, **options):
    return read_history(repo.folder, suffixes=(".py",), **options)


def added(change):
    return [change.content[start:stop] for start, stop in change.added]


def test_commits_in_order_with_what_they_added(repo):
    shas = [
        repo.commit({"pkg/a.py": module("a"), "notes.txt": "no code"}),
        repo.commit({"pkg/a.py": module("a").replace("a_3 = ", "a3 = ") + "last = 1\n"}, author="bob"),
        repo.commit({"b.py": "no end of line"}),
    ]
    first, second, third = read(repo)
    assert [commit.sha for commit in (first, second, third)] == shas
    assert [commit.time for commit in (first, second, third)] == [START + DAY * day for day in (1, 2, 3)]
    assert first.author == third.author == name_author("Ann@example.org ")
    assert second.author == name_author("bob@example.org")
    assert "bob" not in repr(second.author)
    (change,) = first.changes
    assert (change.path, change.added) == ("pkg/a.py", ((0, len(module("a"))),))
    (change,) = second.changes
    assert added(change) == [b"a3 = 'a 9'\n", b"last = 1\n"]
    (change,) = third.changes
    assert change.added == ((0, 14),)


def test_added_lines_are_those_of_a_difference(repo):
    """`difflib` finds differences otherwise; both must explain the new file from the old one."""
    texts = [module("a", 40)]
    for step in range(12):
        lines = texts[-1].splitlines(keepends=True)
        lines[step * 3 : step * 3 + step % 4] = [f"new_{step}_{n} = {n}\n" for n in range((step * 7) % 5)]
        texts.append("".join(lines) + ("" if step % 3 else "\n@@ -1 +1 @@\nindex 0..1\ndiff --git a b\n"))
    for text in texts:
        repo.commit({"a.py": text})
    commits = {commit.changes[0].content.decode(): commit.changes[0] for commit in read(repo)}
    for old, new in pairwise(texts):
        differ = difflib.SequenceMatcher(
            None, old.splitlines(keepends=True), new.splitlines(keepends=True), autojunk=False
        )
        count = sum(j2 - j1 for tag, _, _, j1, j2 in differ.get_opcodes() if tag in ("insert", "replace"))
        if new in commits:
            pieces = added(commits[new])
            assert sum(piece.count(b"\n") for piece in pieces) == count
            kept = new.encode()
            for start, stop in reversed(commits[new].added):
                kept = kept[:start] + kept[stop:]
            rest = iter(old.splitlines())
            assert all(line in rest for line in kept.decode().splitlines())  # what was not added was there, in order


def test_what_adds_no_lines_is_no_change(repo):
    repo.commit({"a.py": module("a"), "b.py": module("b"), "c.py": module("c")})
    repo.commit({"a.py": None, "moved.py": module("a")})  # a rename
    repo.commit({"b.py": None})  # a deletion
    repo.commit({})  # nothing
    repo.commit({"c.py": module("c", 10)})  # lines went
    repo.commit({"binary.py": b"\0\1\2" * 50})
    repo.commit({"big.py": "x = 1\n" * 200_000})
    repo.commit({"node_modules/x.py": module("x"), ".hidden/y.py": module("y")})
    (repo.folder / "link.py").symlink_to("moved.py")
    repo.commit({})
    assert len(read(repo)) == 1
    repo.commit({"moved.py": None, "again.py": module("a") + "more = 1\n"})
    assert [added(change) for change in read(repo)[1].changes] == [[b"more = 1\n"]]


def test_merges_are_taken_apart(repo):
    repo.commit({"a.py": module("a")})
    repo.git("checkout", "-q", "-b", "side")
    side = repo.commit({"b.py": module("b")}, author="bob")
    repo.git("checkout", "-q", "main")
    main = repo.commit({"a.py": module("a") + "x = 1\n"})
    repo.days += 1
    repo.git("merge", "-q", "--no-ff", "-m", "merge", "side", author="merger")
    last = repo.commit({"c.py": module("c")})
    assert [commit.sha for commit in read(repo)][1:] == [side, main, last]
    assert [commit.sha for commit in read(repo, author="bob@example.org")] == [side]
    assert [commit.sha for commit in read(repo, author=name_author("bob@example.org"))] == [side]
    assert [commit.sha for commit in read(repo, since=START + 3 * DAY)] == [main, last]
    assert [commit.sha for commit in read(repo, limit=1)] == [last]


def test_parents_come_first_whatever_the_clocks_say(repo):
    first = repo.commit({"a.py": module("a")})
    repo.days = 5
    base = repo.commit({"b.py": module("b")})
    repo.git("checkout", "-q", "-b", "side")
    repo.days = 1
    side = repo.commit({"c.py": module("c")})
    repo.git("checkout", "-q", "main")
    repo.days = 7
    main = repo.commit({"d.py": module("d")})
    repo.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    assert [commit.sha for commit in read(repo)] == [first, base, side, main]


def test_a_branch_that_is_merged_after_the_cut_is_in_no_part(repo):
    repo.commit({"a.py": module("a")})
    repo.git("checkout", "-q", "-b", "side")
    repo.commit({"b.py": module("b")})
    repo.git("checkout", "-q", "main")
    for number in range(3):
        repo.commit({f"m{number}.py": module(f"m{number}")})
    repo.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    for number in range(3, 6):
        repo.commit({f"m{number}.py": module(f"m{number}")})
    history = split_history(repo.folder, SHARES, CONFIG)
    assert [file.path for file in history.train.files] == ["a.py", "m0.py", "m1.py"]
    later = [change.path for commit in history.validation + history.test for change in commit.changes]
    assert later == ["m2.py", "m3.py", "m4.py", "m5.py"]


def test_the_past_is_the_tree_at_the_cut(repo):
    shas = [repo.commit({"pkg/a.py": module("a", 10 + n), f"pkg/m{n}.py": module(f"m{n}")}) for n in range(8)]
    history = split_history(repo.folder, SHARES, CONFIG)
    train = {file.path: file for file in history.train.files}
    assert train["pkg/a.py"].content == module("a", 13).encode()
    assert set(train) == {"pkg/a.py", *(f"pkg/m{n}.py" for n in range(4))}
    assert {(file.group, file.time) for file in train.values()} == {("pkg", START + 4 * DAY)}
    assert [commit.sha for commit in history.validation] == shas[4:6]
    assert [commit.sha for commit in history.test] == shas[6:]
    assert split_history(repo.folder, SHARES, CONFIG) == history
    for commit in history.validation + history.test:
        assert commit.time > START + 4 * DAY
        for change in commit.changes:
            assert not any(piece in file.content for piece in added(change) for file in train.values())


def test_commits_of_one_second_keep_their_order(repo):
    for n in range(6):
        repo.days = 0
        repo.commit({f"m{n}.py": module(f"m{n}")})
    history = split_history(repo.folder, SHARES, CONFIG)
    assert len(history.train) == 3
    assert [commit.changes[0].path for commit in history.validation + history.test] == ["m3.py", "m4.py", "m5.py"]


def test_one_author(repo):
    for n in range(12):
        repo.commit({f"m{n}.py": module(f"m{n}")}, author="bob" if n % 2 else "ann")
    history = split_history(repo.folder, SHARES, CONFIG, author="bob@example.org")
    assert [file.path for file in history.train.files] == ["m1.py", "m3.py", "m5.py"]
    assert [commit.changes[0].path for commit in history.validation + history.test] == ["m7.py", "m9.py", "m11.py"]


def test_filters_hold_for_later_commits(repo, caplog):
    for n in range(4):
        repo.commit({f"m{n}.py": module(f"m{n}")})
    repo.commit({"gen.py": "# @generated\n" + module("gen"), "new.py": module("new")})
    repo.commit({"copied.py": module("m0") + "\n", "other.py": module("other")})
    repo.commit(
        {"m1.py": f"login('{LEAK}')\n" + module("m1").replace("m1_5 =", "m1x5 ="), "m2.py": f"x('{LEAK}'); y()\n"}
    )
    repo.commit({"end.py": module("end")})
    history = split_history(repo.folder, SHARES, CONFIG)
    later = {change.path: change for commit in history.validation + history.test for change in commit.changes}
    assert set(later) == {"new.py", "other.py", "m1.py", "m2.py", "end.py"}
    assert added(later["m1.py"]) == [b"login('REDACTED')\n", b"m1x5 = 'm1 25'\n"]
    assert added(later["m2.py"]) == [b"x('REDACTED'); y()\n"]
    assert "left out 2 changes of later commits: 1 generated, 1 copied from training files" in caplog.text
    assert LEAK not in repr(history) + caplog.text
    dropped = split_history(repo.folder, SHARES, CompleteConfig(secrets="drop"))
    assert {change.path for commit in dropped.validation + dropped.test for change in commit.changes} == {
        "new.py",
        "other.py",
        "end.py",
    }
    with pytest.raises(DataError, match="GitHub token"):
        split_history(repo.folder, SHARES, CompleteConfig(secrets="refuse"))


def test_a_secret_that_was_added_in_part(repo):
    body = [f"{n:02d}" + "aB3+" * 12 for n in range(6)]
    key = "\n".join(["KEY = '''", "-----BEGIN PRIVATE KEY-----", *body, "-----END PRIVATE KEY-----", "'''", "x = 1\n"])
    for n in range(3):
        repo.commit({f"m{n}.py": module(f"m{n}")})
    repo.commit({"key.py": key})
    repo.commit({"key.py": key.replace("03aB3", "33aB3").replace("x = 1", "x = 2")})
    (change,) = split_history(repo.folder, SHARES, CONFIG).test[-1].changes
    assert change.content == b"KEY = '''\nREDACTED\n'''\nx = 2\n"
    assert added(change) == [b"REDACTED", b"x = 2\n"]


def test_licences_are_those_of_the_cut(repo):
    mit = "Permission is hereby granted, free of charge, to any person obtaining a copy [...]\n"
    mit += "The above copyright notice and this permission notice shall be included"
    repo.commit({"LICENSE": mit, "a.py": module("a")})
    for n in range(4):
        repo.commit(
            {f"m{n}.py": module(f"m{n}"), f"g{n}.py": "# SPDX-License-Identifier: GPL-3.0-only\n" + module(f"g{n}")}
        )
    history = split_history(repo.folder, SHARES, CompleteConfig(licences="MIT"))
    paths = {file.path for file in history.train.files}
    paths |= {change.path for commit in history.validation + history.test for change in commit.changes}
    assert paths == {"a.py", "m0.py", "m1.py", "m2.py", "m3.py"}


def test_a_shallow_clone_begins_after_its_boundary(repo, tmp_path):
    shas = [repo.commit({f"m{n}.py": module(f"m{n}")}) for n in range(6)]
    repo.git("clone", "-q", "--depth", "3", f"file://{repo.folder}", str(tmp_path / "clone"))
    assert [commit.sha for commit in read_history(tmp_path / "clone", suffixes=(".py",))] == shas[-2:]
    with pytest.raises(DataError, match="got 2 in a shallow clone; git fetch --unshallow"):
        split_history(tmp_path / "clone", SHARES, CONFIG)


def test_a_clone_without_contents(repo, tmp_path):
    for n in range(4):
        repo.commit({f"m{n}.py": module(f"m{n}")})
    repo.git("config", "uploadpack.allowFilter", "true")
    repo.git("clone", "-q", "--filter=blob:none", "--no-checkout", f"file://{repo.folder}", str(tmp_path / "clone"))
    with pytest.raises(DataError) as caught:
        split_history(tmp_path / "clone", SHARES, CONFIG)
    assert "\n" not in str(caught.value)


def test_paths_of_any_bytes(repo):
    try:
        (repo.folder / os.fsdecode(b"caf\xe9 \xc3\xbc.py")).write_text(module("a"))
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    repo.commit({'b "quoted"\n.py': module("b"), "tab\t.PY": module("c")})
    (commit,) = read(repo)
    assert {change.path for change in commit.changes} == {"caf\\xe9 ü.py", 'b "quoted"\n.py', "tab\t.PY"}
    assert all(change.added for change in commit.changes)


def test_too_little_history(repo, tmp_path):
    with pytest.raises(DataError, match="has no commit yet"):
        split_history(repo.folder, SHARES, CONFIG)
    repo.commit({"a.py": module("a")})
    repo.commit({"notes.txt": "x"})
    with pytest.raises(DataError, match=r"at least 3 commits that change .py files, got 1; give a"):
        split_history(repo.folder, SHARES, CONFIG)
    for n in range(2):
        repo.commit({f"g{n}.py": "# @generated\n" + module(f"g{n}")})
    with pytest.raises(DataError, match="only 0 commits after the cut"):
        split_history(repo.folder, SHARES, CONFIG)
    with pytest.raises(DataError, match="3 commits by this author"):
        split_history(repo.folder, SHARES, CONFIG, author="nobody@example.org")
    (tmp_path / "plain").mkdir()
    with pytest.raises(DataError, match="no git repository"):
        split_history(tmp_path / "plain", SHARES, CONFIG)
