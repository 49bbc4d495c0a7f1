# ruff: noqa: E501, a program a line
"""Programs that try to get out of the sandbox, to stay, to take all there is, or to harm.

Each prints BREACH where it got what it wanted. After each, the machine is as before and nothing of it runs any more.
"""

from __future__ import annotations

import platform
import time
import uuid

import pytest

PRELUDE = '''
import ctypes, os, resource, signal, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)

def attempt(step, *arguments):
    """Say whether a step did what it should not have done."""
    try:
        result = step(*arguments)
    except (OSError, ValueError, RuntimeError, ImportError, MemoryError) as error:
        print("held:", type(error).__name__, error, flush=True)
    else:
        print("BREACH", result, flush=True)

def call(x86_64, aarch64, *arguments):
    """Make a system call by its number."""
    number = aarch64 if os.uname().machine == "aarch64" else x86_64
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    print("held" if result == -1 else "BREACH", result, ctypes.get_errno(), flush=True)
    return result

def until_refused(step, most):
    """Repeat a step until it is refused; that it never is, is the breach."""
    for count in range(most):
        try:
            step(count)
        except (OSError, MemoryError, RuntimeError) as error:
            print("held after", count, error, flush=True)
            return
    print("BREACH", flush=True)
'''

# name: (how it may end, program); VICTIM, FOLDER and PORT stand for what the canary has
ATTACKS: dict[str, tuple[str, str]] = {
    # to take all there is
    "fork bomb": ("ok", "for _ in range(50): attempt(os.fork)"),
    "fork by raw calls": ("ok", "call(57, 220, 17, 0, 0, 0, 0); call(58, 220, 0x4111, 0, 0, 0, 0); call(435, 435, 0, 88)"),
    "clone that shares memory but is no thread": ("ok", "call(56, 220, 0x100 | 17, 0, 0, 0, 0)"),
    "thread bomb": (
        "ok",
        "hold = threading.Event()\n"
        "until_refused(lambda _: threading.Thread(target=hold.wait, daemon=True).start(), 1000); hold.set()",
    ),
    "one large allocation": ("memory", "held = bytearray(1 << 34)"),
    "many small allocations": ("memory", "held = []\nwhile True: held.append(bytearray(1 << 16))"),
    "memory by mmap": ("ok", "import mmap; held = []\nuntil_refused(lambda _: held.append(mmap.mmap(-1, 1 << 24)), 100)"),
    "shared memory between threads": (
        "ok memory",
        "hold = []\ndef eat():\n    while True: hold.append(bytearray(1 << 20))\n"
        "all_ = [threading.Thread(target=eat) for _ in range(4)]\nfor t in all_: t.start()\nfor t in all_: t.join()",
    ),
    "memory in a file without a folder": ("ok", "attempt(os.memfd_create, 'x')"),
    "deep recursion": ("error memory killed timeout", "sys.setrecursionlimit(10**9)\ndef f(): return f() + 1\nf()"),
    "deep recursion in C": (
        "error memory killed timeout",
        "sys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
    ),
    "disk fill": ("ok", "f = open('big', 'wb', 0)\nuntil_refused(lambda _: f.write(bytes(1 << 16)), 1000)"),
    "disk fill by many files": (
        "ok",
        "until_refused(lambda i: open(f'f{i}', 'wb').write(bytes(1 << 18)), 60)",
    ),
    "inode fill": ("ok", "until_refused(lambda i: open(str(i), 'x').close(), 5000)"),
    "folders without end": ("ok", "until_refused(lambda i: (os.mkdir('d'), os.chdir('d')), 5000)"),
    "huge sparse file": ("ok", "f = open('big', 'wb')\nattempt(f.truncate, 1 << 40); attempt(os.posix_fallocate, f.fileno(), 0, 1 << 30)"),
    "descriptors": ("ok", "held = []\nuntil_refused(lambda _: held.append(os.dup(1)), 5000)"),
    "large pipes": ("ok", "import fcntl; r, w = os.pipe(); attempt(fcntl.fcntl, w, 1031, 1 << 20)"),
    "locks without end": ("ok", "import fcntl; f = open('f', 'w'); attempt(fcntl.lockf, f, fcntl.LOCK_EX, 1, 0)"),
    "raising limits": (
        "ok",
        "for kind in (0, 1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14): attempt(resource.setrlimit, kind, (-1, -1))\nattempt(resource.prlimit, 1, 9, (-1, -1))",
    ),
    "locking memory": ("ok", "call(151, 230, 1); call(149, 228, id(libc), 4096)"),
    "stdout flood": ("timeout", "while True: os.write(1, b'x' * 65536)"),
    "stderr flood": ("timeout", "while True: os.write(2, b'x' * 65536)"),
    "both floods": (
        "timeout",
        "def flood(fd):\n    while True: os.write(fd, b'x' * 65536)\n"
        "threading.Thread(target=flood, args=(1,)).start(); flood(2)",
    ),
    # to stay
    "busy loop": ("timeout", "while True: pass"),
    "busy threads": ("timeout", "for _ in range(4): threading.Thread(target=lambda: sum(iter(int, 1))).start()"),
    "sleep without end": ("timeout", "time.sleep(10**6)"),
    "one call that takes long": ("timeout", "9 ** 9 ** 9"),
    "ignored signals": (
        "timeout",
        "for n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "while True: pass",
    ),
    "blocked signals": ("timeout", "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: time.sleep(1)"),
    "catching everything": (
        "timeout",
        "def hold():\n    while True:\n        try: time.sleep(9)\n        except BaseException: pass\nhold()",
    ),
    "a loop at exit": ("timeout", "import atexit\natexit.register(lambda: time.sleep(10**6))"),
    "a loop in a finaliser": (
        "timeout",
        "class A:\n    def __del__(self):\n        while True: pass\nx = A(); x.me = x",
    ),
    "a thread that outlives": ("timeout", "threading.Thread(target=time.sleep, args=(10**6,)).start()"),
    "a daemon by two forks": ("ok", "attempt(lambda: os.fork() or os.setsid() or os.fork()); attempt(os.setsid)"),
    "a new session": ("ok", "attempt(os.setsid); attempt(os.setpgid, 0, 0)"),
    "stopping itself": ("timeout", "os.kill(os.getpid(), signal.SIGSTOP)"),
    # to harm processes
    "killing all": ("ok", "try: os.kill(-1, 9)\nexcept OSError: pass"),
    "killing the parent": (
        "ok",
        "for n in range(1, 65):\n    try: os.kill(1, n); os.kill(os.getppid(), n)\n    except OSError: pass\n"
        "time.sleep(0.1)",
    ),
    "killing processes by number": (
        "ok",
        "for n in (3, 4, *range(100, 40000, 7)):\n    try: os.kill(n, 9); print('BREACH', n)\n"
        "    except OSError: pass",
    ),
    "tracing the parent": ("ok", "call(101, 117, 16, 1, 0, 0); call(101, 117, 0, 0, 0, 0); call(101, 117, 0x4206, 1, 0, 0)"),
    "memory of another process": ("ok", "call(310, 270, 1, 0, 0, 0, 0, 0); call(311, 271, 1, 0, 0, 0, 0, 0)"),
    "a handle of another process": ("ok", "call(434, 434, 1, 0); call(438, 438, 3, 0, 0); call(424, 424, 3, 9, 0, 0)"),
    "queueing signals": ("ok", "call(129, 138, 1, 10, 0); call(297, 240, 1, 1, 10, 0)"),
    "priority and processors": ("ok", "attempt(os.nice, -5); attempt(os.sched_setaffinity, 1, {0}); call(144, 119, 0, 1, 0)"),
    # to read
    "home": ("ok", "for p in ('/root', '/home', os.path.expanduser('~root'), '/work', '/mnt', '/var', '/srv'): attempt(os.listdir, p)"),
    "secrets of the system": (
        "ok",
        "for p in ('/etc/passwd', '/etc/shadow', '/etc/hosts', '/etc/hostname', '/root/.bashrc'): attempt(open, p)",
    ),
    "environment": (
        "ok",
        "print('BREACH' if any('SECRET' in k or 'secret' in v for k, v in os.environ.items()) else 'held', len(os.environ))",
    ),
    "environment of others": ("ok", "for p in (1, 'self', os.getppid()): attempt(open, f'/proc/{p}/environ', 'rb')"),
    "a file of the machine by its name": ("ok", "attempt(open, VICTIM); attempt(open, VICTIM, 'w'); attempt(os.listdir, FOLDER)"),
    "dots": ("ok", "attempt(open, '../' * 40 + VICTIM.lstrip('/')); attempt(open, '/tmp/../..' + VICTIM)"),
    "a symbolic link": ("ok", "os.symlink(VICTIM, 'link'); attempt(open, 'link'); os.symlink('/' , 'r'); attempt(open, 'r' + VICTIM)"),
    "a hard link": ("ok", "attempt(os.link, os.__file__, 'os.py'); attempt(os.link, VICTIM, 'v'); attempt(os.link, '/main.py', 'm')"),
    "the old root by a descriptor": (
        "ok",
        "for fd in range(3, 1024):\n    try: os.fchdir(fd); print('BREACH', fd)\n    except OSError: pass\n"
        "here = os.open('/', 0)\nfor _ in range(60): os.chdir('..')\n"
        "attempt(open, VICTIM.lstrip('/'))",
    ),
    "a changed root": ("ok", "os.mkdir('d'); attempt(os.chroot, 'd'); call(155, 41, 0, 0)"),
    "file handles": ("ok", "call(304, 265, -100, 0, 0); call(303, 264, -100, 0, 0, 0, 0)"),
    "inherited descriptors": (
        "ok",
        "for fd in range(3, 4096):\n    try: os.write(fd, b'x'); print('BREACH', fd)\n    except OSError: pass\n"
        "    try: os.read(fd, 1); print('BREACH', fd)\n    except OSError: pass",
    ),
    "closing all descriptors": ("ok error", "os.closerange(0, 4096)"),
    "installed packages": ("ok", "for name in ('torch', 'numpy', 'omniform', 'pip'): attempt(__import__, name)"),
    "devices": (
        "ok",
        "for p in ('mem', 'kmsg', 'tty', 'console', 'vda', 'sda', 'kvm', 'fuse', 'ptmx', 'shm', 'net/tun', 'fd'): attempt(open, '/dev/' + p)\n"
        "attempt(os.mknod, 'd', 0o60666, os.makedev(8, 0)); attempt(os.mkfifo, 'p')",
    ),
    # to write
    "the interpreter's library": (
        "ok",
        "attempt(open, os.__file__, 'a'); attempt(os.remove, os.__file__); attempt(os.chmod, os.__file__, 0o777)\n"
        "attempt(os.rename, os.__file__, '/tmp/os.py'); attempt(open, sys.executable, 'r+b')",
    ),
    "planted start-up files": (
        "ok",
        "lib = os.path.dirname(os.__file__)\n"
        "for name in ('sitecustomize.py', 'usercustomize.py', 'x.pth', '__pycache__/os.cpython-311.pyc'):\n"
        "    attempt(open, os.path.join(lib, name), 'w')\n"
        "attempt(open, '/usr/lib/x.so', 'w'); attempt(open, '/etc/ld.so.preload', 'w')",
    ),
    "a module in the working folder": ("ok", "open('planted.py', 'w').write('x = 1'); attempt(__import__, 'planted')"),
    "the program's own file": ("ok", "attempt(open, '/main.py', 'w'); attempt(os.remove, '/main.py'); attempt(open, '/new', 'w')"),
    "memory files and settings": (
        "ok",
        "for p in ('/proc/self/mem', '/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger', '/sys/kernel/uevent_helper',"
        " '/sys/fs/cgroup/x', '/proc/1/mem', '/proc/self/uid_map'): attempt(open, p, 'w')",
    ),
    "making the root writable": ("ok", "call(165, 40, 0, 0, 0, 0x1020, 0); call(442, 442, -100, 0, 0, 0, 32); call(166, 39, 0, 2)"),
    "extended attributes": ("ok", "open('f', 'w'); attempt(os.setxattr, 'f', 'user.x', b'x' * 999)"),
    # to reach the network
    "a server of the machine": ("ok", "attempt(socket.create_connection, ('127.0.0.1', PORT))"),
    "sockets of all kinds": (
        "ok",
        "for family in range(46):\n    for kind in (1, 2, 3, 5): attempt(socket.socket, family, kind)",
    ),
    "names": ("ok", "attempt(socket.getaddrinfo, 'example.org', 80); attempt(socket.gethostbyname, 'localhost')"),
    "a socket by its raw call": ("ok", "call(41, 198, 2, 1, 0); call(42, 203, 0, 0, 0); call(41, 198, 16, 3, 0)"),
    "passing descriptors": (
        "ok",
        "a, b = socket.socketpair(); attempt(socket.send_fds, a, [b'x'], [1]); attempt(a.bind, '\\0x'); attempt(a.connect, 'x')",
    ),
    # to gain privileges
    "becoming root": (
        "ok",
        "attempt(os.setuid, 0); attempt(os.setresuid, 0, 0, 0); attempt(os.setgroups, [0]); attempt(os.chown, '.', 0, 0); call(126, 91, 0, 0)",
    ),
    "namespaces": ("ok", "call(272, 97, 0x10000000); call(308, 268, 0, 0); call(56, 220, 0x10000000 | 17, 0, 0, 0, 0)"),
    "a thread with namespaces": ("ok", "call(56, 220, 0x10010900, 0, 0, 0, 0)"),
    "mounts": ("ok", "call(165, 40, 0, 0, 0, 0, 0); call(428, 428, -100, 0, 1); call(430, 430, 0, 0); call(429, 429, 0, 0, 0, 0, 0)"),
    "keys": ("ok", "call(250, 219, 0, -3, 1); call(248, 217, 0, 0, 0, 0, 0); call(249, 218, 0, 0, 0, 0)"),
    "bpf and counters": ("ok", "call(321, 280, 0, 0, 0); call(298, 241, 0, 0, -1, -1, 0)"),
    "io_uring": ("ok", "call(425, 425, 8, id(bytearray(200))); call(426, 426, 3, 1, 1, 0, 0); call(427, 427, 3, 0, 0, 0)"),
    "userfaultfd": ("ok", "call(323, 282, 0); call(323, 282, 1)"),
    "its own filter": ("ok", "call(317, 277, 1, 0, 0); call(317, 277, 0, 0, 0); call(157, 167, 22, 1, 0); call(157, 167, 4, 1, 0)"),
    "personality": ("ok", "call(135, 92, 0x0040000)"),
    "shared memory of the system": (
        "ok",
        "call(29, 194, 0, 4096, 0o1600); call(64, 190, 0, 1, 0o1600); call(68, 186, 0, 0o1600); call(240, 180, id(b'q'), 0o102, 0, 0)\n"
        "from multiprocessing import shared_memory; attempt(shared_memory.SharedMemory, 'x', True, 4096)",
    ),
    "the machine's clock, name and end": (
        "ok",
        "attempt(time.clock_settime, 0, 0.0); call(164, 170, 0, 0); call(170, 161, 0, 0); call(169, 142, 0xFEE1DEAD, 672274793, 0)\n"
        "call(167, 224, 0, 0); call(163, 89, 0); call(246, 104, 0, 0, 0); call(175, 105, 0, 0, 0); call(313, 273, 0, 0, 0)",
    ),
    "typing into a terminal": ("ok", "import fcntl\nfor fd in range(3):\n    for r in (0x5412, 0x541C, 0x540E): attempt(fcntl.ioctl, fd, r, b'x')"),
    # to run other programs
    "a shell": ("ok", "attempt(os.execv, '/bin/sh', ['sh']); attempt(os.execv, '/usr/bin/env', ['env']); print(os.system('id'))"),
    "a subprocess": ("ok", "import subprocess; attempt(subprocess.run, ['id']); attempt(os.posix_spawn, sys.executable, ['p'], {})"),
    "a pool of processes": ("ok", "import multiprocessing as m; attempt(m.Pool, 2); attempt(m.Process(target=print).start)"),
    "the interpreter again": ("ok", "attempt(os.execv, sys.executable, ['python', '-c', 'print(\"BREACH\")'])"),
    "the loader": ("ok", "attempt(os.execv, '/lib64/ld-linux-x86-64.so.2', ['ld', sys.executable, '-c', 'print(\"BREACH\")'])"),
    "exec of guessed addresses": (
        "ok",
        "path = ctypes.create_string_buffer(sys.executable.encode())\nlibc.execve(path, None, None)\n"
        "for _ in range(10000): libc.execve(ctypes.c_void_p(int.from_bytes(os.urandom(5), 'little')), None, None)",
    ),
    "exec of a descriptor": ("ok", "f = os.open(sys.executable, 0); call(322, 281, f, 0, 0, 0, 0x1000); attempt(os.execve, f, ['p'], {})"),
    "a program of its own": (
        "ok",
        "open('p', 'wb').write(open(sys.executable, 'rb').read(1 << 20)); os.chmod('p', 0o777); attempt(os.execv, './p', ['p'])",
    ),
    "a library of its own": (
        "ok",
        "import _ctypes; data = open(_ctypes.__file__, 'rb').read(); open('l.so', 'wb').write(data); attempt(ctypes.CDLL, './l.so')",
    ),
    # to fool the parent
    "its own end by a signal": ("killed", "os.kill(os.getpid(), 9)"),
    "a fault": ("killed", "ctypes.string_at(0)"),
    "an abort": ("killed", "os.abort()"),
    "an exit code": ("error", "os._exit(77)"),
    "an early exit": ("ok", "print('passed'); sys.exit(0)"),
    "a report of its own": ("error", "print('{\"code\": 0, \"seconds\": 0.0}', flush=True); os._exit(3)"),
    "an interrupt for the parent": ("ok", "\ntry: os.kill(1, signal.SIGINT); os.kill(1, signal.SIGTERM)\nexcept OSError: pass"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_held(name, sandbox, hasty, canary):
    statuses, program = ATTACKS[name]
    sandbox = hasty if "timeout" in statuses else sandbox
    tag = uuid.uuid4().hex
    for word, value in (("VICTIM", str(canary.victim)), ("FOLDER", str(canary.folder)), ("PORT", canary.port)):
        program = program.replace(word, repr(value))
    start = time.monotonic()
    outcome = sandbox.run(f"# {tag}\n{PRELUDE}\n{program}\n")
    seconds = time.monotonic() - start
    told = (outcome.stdout + outcome.stderr)[-1500:].decode(errors="replace")
    assert outcome.status in statuses.split(), f"{outcome.status} {outcome.code} {outcome.reason}\n{told}"
    assert b"BREACH" not in outcome.stdout, told
    assert len(outcome.stdout) <= sandbox.limits.output
    assert len(outcome.stderr) <= sandbox.limits.output
    assert outcome.seconds < sandbox.limits.seconds + 1
    assert seconds < sandbox.limits.seconds + 10
    assert canary.left(tag) == []
    canary.unharmed()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are ways of x86-64")
@pytest.mark.parametrize("way", ["int 0x80", "x32"])
def test_other_ways_into_the_kernel_kill(way, sandbox):
    programs = {
        # mov eax, 20; int 0x80; ret
        "int 0x80": "import mmap\nm = mmap.mmap(-1, 4096, prot=7)\nm.write(bytes.fromhex('b814000000cd80c3'))\n"
        "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()\nprint('BREACH')",
        "x32": "libc.syscall(ctypes.c_long(0x40000000 + 39))\nprint('BREACH')",
    }
    outcome = sandbox.run(PRELUDE + programs[way])
    assert outcome.status == "killed"
    assert outcome.code in (-31, -11)  # SIGSYS; SIGSEGV where the kernel was built without it
    assert b"BREACH" not in outcome.stdout


def test_there_are_enough_attacks():
    assert len(ATTACKS) >= 40
