"""What honest programs get, and what callers are told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from omniform.errors import ConfigError
from omniform_codegen.sandbox import Limits, Sandbox


def test_a_program_gets_input_and_files_and_says_its_output(sandbox):
    program = (
        "import sys, pathlib\n"
        "sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])\n"
        "names = sorted(str(path) for path in pathlib.Path('.').rglob('*'))\n"
        "print(names, pathlib.Path('a/b.txt').read_text(), file=sys.stderr)"
    )
    outcome = sandbox.run(program, stdin=b"abc\xff", files={"a/b.txt": "ä".encode(), "c": b""})
    assert (outcome.status, outcome.code, outcome.dropped) == ("ok", 0, 0)
    assert outcome.stdout == b"\xffcba"
    assert outcome.stderr.decode() == "['a', 'a/b.txt', 'c'] ä\n"
    assert 0 < outcome.seconds < sandbox.limits.seconds


@pytest.mark.parametrize(
    ("program", "status", "code"),
    [
        ("pass", "ok", 0),
        ("raise SystemExit(5)", "error", 5),
        ("1 / 0", "error", 1),
        ("def", "error", 1),
        (b"# -*- coding: latin-1 -*-\nx = '\xe4'\nassert ord(x) == 228", "ok", 0),
        (b"\xff\x00", "error", 1),
        ("import os; os.kill(os.getpid(), 15)", "killed", -signal.SIGTERM),
        ("x = [0] * (1 << 40)", "memory", 1),
        ("import time; time.sleep(60)", "timeout", None),
    ],
)
def test_how_it_ended(sandbox, hasty, program, status, code):
    outcome = (hasty if status == "timeout" else sandbox).run(program)
    assert (outcome.status, outcome.code) == (status, code)


def test_the_standard_library_is_there(sandbox):
    names = "json re math random decimal fractions itertools collections heapq bisect datetime string hashlib zlib ssl "
    names += "sqlite3 asyncio threading statistics typing dataclasses unittest bz2 lzma csv uuid copy functools ctypes"
    program = (
        f"for name in {names.split()}: __import__(name)\nimport asyncio\nprint(asyncio.run(asyncio.sleep(0, 'done')))"
    )
    outcome = sandbox.run(program)
    assert outcome.stdout == b"done\n", outcome.stderr.decode()


def test_nothing_is_seen_of_an_earlier_run(sandbox):
    sandbox.run("open('left', 'w').write('x')")
    assert sandbox.run("import os; print(os.listdir('.'))").stdout == b"[]\n"


def test_installed_packages_look_empty(sandbox):
    program = (
        "import os, glob\nprint(sum(map(os.listdir, glob.glob(os.path.dirname(os.__file__) + '/site-packages')), []))"
    )
    assert sandbox.run(program).stdout == b"[]\n"


def test_runs_are_alike(sandbox):
    program = "import os, sys; print(hash('x'), os.environ, sys.path, sys.flags, os.getuid(), os.getpid())"
    assert sandbox.run(program).stdout == sandbox.run(program).stdout


def test_what_is_not_kept_is_said(sandbox):
    outcome = sandbox.run("import sys\nsys.stdout.write('x' * 100_000)\nsys.stderr.write('y' * 20_000)")
    kept = sandbox.limits.output
    assert outcome.stdout == b"x" * kept
    assert outcome.stderr == b"y" * kept
    assert outcome.dropped == 120_000 - 2 * kept


def test_input_that_nobody_reads_holds_nothing_up(sandbox):
    assert sandbox.run("print('done')", stdin=bytes(3 << 20)).stdout == b"done\n"


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "", ".", "a\0b"])
def test_files_stay_within_the_working_folder(sandbox, name):
    with pytest.raises(ConfigError, match="within the working folder"):
        sandbox.run("pass", files={name: b""})


def test_files_that_do_not_fit_are_refused(sandbox):
    outcome = sandbox.run("print('ran')", files={"big": bytes(sandbox.limits.disk + 4096)})
    assert (outcome.status, outcome.stdout) == ("refused", b"")
    assert "No space left" in outcome.reason


def test_many_at_a_time(sandbox):
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda i: sandbox.run(f"print({i})").stdout, range(12)))
    assert outcomes == [f"{i}\n".encode() for i in range(12)]


def test_no_descriptors_are_left_open(hasty):
    before = len(os.listdir("/proc/self/fd"))
    for program in ("pass", "1 / 0", "while True: print('x')"):
        hasty.run(program)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_program_ends_with_its_caller(sandbox, canary):
    tag = "ends with its caller"
    caller = (
        "from omniform_codegen.sandbox import Limits, Sandbox\n"
        f"Sandbox(Limits(seconds=60)).run('# {tag}\\nimport time; time.sleep(60)')"
    )
    process = subprocess.Popen([sys.executable, "-c", caller])
    try:
        assert _soon(lambda: canary.left(tag)), "the program never began"
    finally:
        process.kill()
        process.wait()
    assert _soon(lambda: not canary.left(tag)), "the program outlived its caller"


def _soon(condition) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    "values",
    [
        {"seconds": 0.0},
        {"seconds": float("nan")},
        {"memory": 1 << 20},
        {"threads": 0},
        {"output": -1},
        {"descriptors": 3},
    ],
)
def test_limits_that_cannot_work_are_refused(values):
    with pytest.raises(ConfigError, match="expected a"):
        Limits(**values)


@pytest.mark.slow
def test_a_hundred_programs_a_minute(sandbox):
    start = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda i: sandbox.run(f"print({i} ** 2)"), range(50)))
    assert all(outcome.status == "ok" for outcome in outcomes)
    assert 50 / (time.monotonic() - start) > 100 / 60


def test_an_honest_program_may_use_what_it_was_given():
    limits = Limits(seconds=10, memory=512 << 20, disk=8 << 20, threads=8)
    program = (
        "import threading\nheld = bytearray(256 << 20)\nopen('f', 'wb').write(bytes(7 << 20))\n"
        "hold = threading.Barrier(8)\nts = [threading.Thread(target=hold.wait) for _ in range(7)]\n"
        "for t in ts: t.start()\nhold.wait()\nfor t in ts: t.join()\nprint('done')"
    )
    outcome = Sandbox(limits).run(program)
    if outcome.status == "refused":
        pytest.skip(outcome.reason)
    assert outcome.stdout == b"done\n", outcome.stderr.decode()


def test_the_least_limits_still_run_a_program(sandbox):
    least = Limits(seconds=5, memory=64 << 20, disk=4096, inodes=16, threads=1, descriptors=16, output=0)
    outcome = Sandbox(least).run("print('hi')")
    assert (outcome.status, outcome.stdout, outcome.dropped) == ("ok", b"", 3)
    Sandbox(least).check()
