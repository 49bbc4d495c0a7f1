"""A program that tries the layers of the sandbox from within."""

from __future__ import annotations

__all__ = ["PROBE"]

PROBE = """
import os, resource, socket, sys

def refused(what, step, *arguments):
    try:
        step(*arguments)
    except OSError:
        return
    raise SystemExit(what + " is open")

def bounded(what, kind):
    if resource.getrlimit(kind)[1] == resource.RLIM_INFINITY:
        raise SystemExit(what + " is not bounded")

if os.getresuid() != (65534,) * 3 or os.getresgid() != (65534,) * 3:
    raise SystemExit("user: somebody")
if os.getpid() != 2:
    raise SystemExit("process namespace is that of the machine")
if os.uname().nodename != "sandbox":
    raise SystemExit("host name is that of the machine")
if sorted(os.listdir("/tmp")) or os.getcwd() != "/tmp":
    raise SystemExit("working folder is not empty")
if set(os.listdir("/")) - {"dev", "empty", "etc", "lib", "lib64", "main.py", "python", "stdin", "tmp", "usr"}:
    raise SystemExit("root holds more than was put there")
for folder in ("/", "/usr", "/usr/lib", "/python/lib", "/dev", "/etc"):
    if os.path.isdir(folder):
        refused("folder " + folder, os.open, folder + "/written", os.O_CREAT | os.O_WRONLY)
refused("making processes", os.fork)
refused("running programs", os.execv, sys.executable, ["python"])
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK):
    refused("network", socket.socket, family, socket.SOCK_DGRAM)
refused("root folder", os.chroot, "/tmp")
refused("users", os.setuid, 0)
refused("limits", resource.prlimit, 1, resource.RLIMIT_AS)
for name in ("AS", "CPU", "FSIZE", "NOFILE", "NPROC", "CORE", "STACK"):
    bounded(name, getattr(resource, "RLIMIT_" + name))
print("closed")
"""
