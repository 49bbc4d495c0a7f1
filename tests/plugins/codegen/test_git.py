"""Git is asked, and nothing that a repository names is run."""

import os
import subprocess
import sys

import pytest

from omniform.errors import DataError
from omniform_codegen.config import CompleteConfig
from omniform_codegen.git import Git
from omniform_codegen.history import read_history, split_history

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


def git(repo, *words):
    subprocess.run(["git", "-C", str(repo), *words], check=True, capture_output=True, env=ENVIRONMENT)


@pytest.fixture
def repo(tmp_path):
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for number in range(5):
        (folder / "a.py").write_text(f"x = {number}\n" * (number + 1))
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", str(number))
    return folder


def test_answers(repo):
    assert len(Git(repo).ask("rev-list", "HEAD").split()) == 5
    name = Git(repo).ask("rev-parse", "HEAD:a.py").decode().strip()
    assert Git(repo).contents([name, name], largest=100) == {name: b"x = 4\n" * 5}
    assert Git(repo).contents([name], largest=10) == {}
    assert Git(repo).contents([], largest=10) == {}


def test_nothing_of_the_repository_is_run(repo, tmp_path, monkeypatch):
    """Every setting that can name a program names one that leaves a trace."""
    trap, mark = tmp_path / "trap.sh", tmp_path / "sprung"
    trap.write_text(f'#!/bin/sh\necho "$0 $*" >> "{mark}"\ncat "$1" 2>/dev/null || true\n')
    trap.chmod(0o755)
    (repo / ".gitattributes").write_text("*.py diff=trap filter=trap merge=trap\n")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "attributes")
    programs = (
        *("core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.askPass", "core.gitProxy"),
        *("diff.external", "diff.trap.command", "diff.trap.textconv", "filter.trap.clean", "filter.trap.smudge"),
        *("filter.trap.process", "gpg.program", "pager.log", "pager.rev-list", "pager.diff-tree", "credential.helper"),
        *("merge.trap.driver", "interactive.diffFilter", "trailer.x.command", "core.alternateRefsCommand"),
    )
    for setting in programs:
        git(repo, "config", setting, str(trap))
    for setting, value in (
        ("log.showSignature", "true"),
        ("core.hooksPath", str(tmp_path)),
        ("alias.rev-list", f"!{trap}"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.url", f"ext::{trap}"),
        ("remote.origin.promisor", "true"),
        ("protocol.ext.allow", "always"),
    ):
        git(repo, "config", setting, value)
    (repo / ".git" / "hooks").mkdir(exist_ok=True)
    for hook in ("post-index-change", "reference-transaction", "post-checkout", "fsmonitor-watchman"):
        (repo / ".git" / "hooks" / hook).write_bytes(trap.read_bytes())
        (repo / ".git" / "hooks" / hook).chmod(0o755)
    mark.unlink(missing_ok=True)
    for name in ("GIT_EXTERNAL_DIFF", "GIT_SSH", "GIT_PAGER", "GIT_ASKPASS"):
        monkeypatch.setenv(name, str(trap))
    assert len(read_history(repo, suffixes=(".py",))) == 5
    assert len(split_history(repo, (0.4, 0.3, 0.3), CompleteConfig()).test) >= 1
    lost = Git(repo).ask("rev-parse", "HEAD:a.py").decode().strip()
    (repo / ".git" / "objects" / lost[:2] / lost[2:]).unlink()
    with pytest.raises(DataError):
        read_history(repo, suffixes=(".py",))
    assert not mark.exists()
    subprocess.run([str(trap)], check=True, capture_output=True)
    assert mark.exists()  # the trap works


def test_the_environment_leads_nowhere_else(repo, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "absent"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert len(read_history(repo, suffixes=(".py",))) == 5


def test_a_folder_inside_a_repository_is_none(repo):
    (repo / "inside").mkdir()
    with pytest.raises(DataError, match=r"'inside' is no git repository; expected the folder that holds .git"):
        read_history(repo / "inside", suffixes=(".py",))


def test_lost_contents(repo):
    name = Git(repo).ask("rev-parse", "HEAD:a.py").decode().strip()
    with pytest.raises(DataError, match="lacks contents"):
        Git(repo).contents([name, "1" * 40], largest=100)


def test_failures_in_one_line(repo, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="cannot read 'absent'"):
        Git(tmp_path / "absent").ask("rev-list", "HEAD")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "git"
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DataError, match="git is not installed"):
        Git(repo).ask("rev-list", "HEAD")
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.exit('fatal: detected dubious ownership in repository at X')\n"
    )
    program.chmod(0o755)
    with pytest.raises(DataError, match=r"another user owns; .* --add safe.directory /") as caught:
        Git(repo).ask("rev-list", "HEAD")
    assert "\n" not in str(caught.value)
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    monkeypatch.setattr("omniform_codegen.git._SECONDS", 0.3)
    with pytest.raises(DataError, match=r"took over 0.3 s; "):
        Git(repo).ask("rev-list", "HEAD")
