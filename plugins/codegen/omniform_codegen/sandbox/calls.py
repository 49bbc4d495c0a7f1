"""Numbers of system calls, and those that a snippet may make whatever their arguments.

Not among them, and so refused: whatever makes processes or runs programs; network sockets; mounts, namespaces and other
roots; other processes' memory; users, groups and capabilities; keys, BPF, io_uring, userfaultfd and performance
counters; memory that no limit counts (memfd_create, shared memory and queues of System V and POSIX); file handles,
extended attributes and notices; clocks, host names, modules, swap and reboot.
"""

from __future__ import annotations

__all__ = ["ALLOWED", "NUMBERS"]

_ALLOWED = """
    read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask
    rt_sigreturn pread64 pwrite64 readv writev preadv pwritev access faccessat faccessat2 pipe pipe2 select pselect6
    ppoll sched_yield mremap msync mincore madvise dup dup2 dup3 pause nanosleep clock_nanosleep getitimer setitimer
    alarm getpid getppid gettid getuid geteuid getgid getegid getgroups getresuid getresgid getpgid getpgrp getsid
    exit exit_group wait4 waitid kill tgkill uname fsync fdatasync truncate ftruncate getdents getdents64 getcwd chdir
    fchdir rename renameat renameat2 mkdir mkdirat rmdir creat openat link linkat unlink unlinkat symlink symlinkat
    readlink readlinkat chmod fchmod fchmodat umask gettimeofday time clock_gettime clock_getres times getrlimit
    getrusage sysinfo statfs fstatfs newfstatat statx utime utimes utimensat futimesat rt_sigpending rt_sigtimedwait
    rt_sigsuspend sigaltstack getpriority sched_getaffinity sched_getparam sched_getscheduler sched_get_priority_max
    sched_get_priority_min arch_prctl futex set_robust_list get_robust_list set_tid_address rseq membarrier
    restart_syscall epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 timerfd_create
    timerfd_settime timerfd_gettime signalfd4 getrandom getcpu close_range fallocate fadvise64 sendfile
    copy_file_range flock sendto recvfrom shutdown getsockname getpeername getsockopt
"""

ALLOWED = tuple(_ALLOWED.split())

NUMBERS = {
    "x86_64": {
        "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8,
        "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14,
        "rt_sigreturn": 15, "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "preadv": 295, "pwritev": 296,
        "access": 21, "faccessat": 269, "faccessat2": 439, "pipe": 22, "pipe2": 293, "select": 23, "pselect6": 270,
        "ppoll": 271, "sched_yield": 24, "mremap": 25, "msync": 26, "mincore": 27, "madvise": 28, "dup": 32,
        "dup2": 33, "dup3": 292, "pause": 34, "nanosleep": 35, "clock_nanosleep": 230, "getitimer": 36,
        "setitimer": 38, "alarm": 37, "getpid": 39, "getppid": 110, "gettid": 186, "getuid": 102, "geteuid": 107,
        "getgid": 104, "getegid": 108, "getgroups": 115, "getresuid": 118, "getresgid": 120, "getpgid": 121,
        "getpgrp": 111, "getsid": 124, "exit": 60, "exit_group": 231, "wait4": 61, "waitid": 247, "kill": 62,
        "tgkill": 234, "uname": 63, "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77, "getdents": 78,
        "getdents64": 217, "getcwd": 79, "chdir": 80, "fchdir": 81, "rename": 82, "renameat": 264, "renameat2": 316,
        "mkdir": 83, "mkdirat": 258, "rmdir": 84, "creat": 85, "openat": 257, "link": 86, "linkat": 265, "unlink": 87,
        "unlinkat": 263, "symlink": 88, "symlinkat": 266, "readlink": 89, "readlinkat": 267, "chmod": 90,
        "fchmod": 91, "fchmodat": 268, "umask": 95, "gettimeofday": 96, "time": 201, "clock_gettime": 228,
        "clock_getres": 229, "times": 100, "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "statfs": 137,
        "fstatfs": 138, "newfstatat": 262, "statx": 332, "utime": 132, "utimes": 235, "utimensat": 280,
        "futimesat": 261, "rt_sigpending": 127, "rt_sigtimedwait": 128, "rt_sigsuspend": 130, "sigaltstack": 131,
        "getpriority": 140, "sched_getaffinity": 204, "sched_getparam": 143, "sched_getscheduler": 145,
        "sched_get_priority_max": 146, "sched_get_priority_min": 147, "arch_prctl": 158, "futex": 202,
        "set_robust_list": 273, "get_robust_list": 274, "set_tid_address": 218, "rseq": 334, "membarrier": 324,
        "restart_syscall": 219, "epoll_create": 213, "epoll_create1": 291, "epoll_ctl": 233, "epoll_wait": 232,
        "epoll_pwait": 281, "eventfd2": 290, "timerfd_create": 283, "timerfd_settime": 286, "timerfd_gettime": 287,
        "signalfd4": 289, "getrandom": 318, "getcpu": 309, "close_range": 436, "fallocate": 285, "fadvise64": 221,
        "sendfile": 40, "copy_file_range": 326, "flock": 73, "sendto": 44, "recvfrom": 45, "shutdown": 48,
        "getsockname": 51, "getpeername": 52, "getsockopt": 55, "clone": 56, "socketpair": 53, "fcntl": 72,
        "ioctl": 16, "prctl": 157, "prlimit64": 302, "execve": 59, "clone3": 435,
    },
    "aarch64": {
        "read": 63, "write": 64, "close": 57, "fstat": 80, "lseek": 62, "mmap": 222, "mprotect": 226, "munmap": 215,
        "brk": 214, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "pread64": 67, "pwrite64": 68,
        "readv": 65, "writev": 66, "preadv": 69, "pwritev": 70, "faccessat": 48, "faccessat2": 439, "pipe2": 59,
        "pselect6": 72, "ppoll": 73, "sched_yield": 124, "mremap": 216, "msync": 227, "mincore": 232, "madvise": 233,
        "dup": 23, "dup3": 24, "nanosleep": 101, "clock_nanosleep": 115, "getitimer": 102, "setitimer": 103,
        "getpid": 172, "getppid": 173, "gettid": 178, "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177,
        "getgroups": 158, "getresuid": 148, "getresgid": 150, "getpgid": 155, "getsid": 156, "exit": 93,
        "exit_group": 94, "wait4": 260, "waitid": 95, "kill": 129, "tgkill": 131, "uname": 160, "fsync": 82,
        "fdatasync": 83, "truncate": 45, "ftruncate": 46, "getdents64": 61, "getcwd": 17, "chdir": 49, "fchdir": 50,
        "renameat": 38, "renameat2": 276, "mkdirat": 34, "openat": 56, "linkat": 37, "unlinkat": 35, "symlinkat": 36,
        "readlinkat": 78, "fchmod": 52, "fchmodat": 53, "umask": 166, "gettimeofday": 169, "clock_gettime": 113,
        "clock_getres": 114, "times": 153, "getrlimit": 163, "getrusage": 165, "sysinfo": 179, "statfs": 43,
        "fstatfs": 44, "newfstatat": 79, "statx": 291, "utimensat": 88, "rt_sigpending": 136, "rt_sigtimedwait": 137,
        "rt_sigsuspend": 133, "sigaltstack": 132, "getpriority": 141, "sched_getaffinity": 123, "sched_getparam": 121,
        "sched_getscheduler": 120, "sched_get_priority_max": 125, "sched_get_priority_min": 126, "futex": 98,
        "set_robust_list": 99, "get_robust_list": 100, "set_tid_address": 96, "rseq": 293, "membarrier": 283,
        "restart_syscall": 128, "epoll_create1": 20, "epoll_ctl": 21, "epoll_pwait": 22, "eventfd2": 19,
        "timerfd_create": 85, "timerfd_settime": 86, "timerfd_gettime": 87, "signalfd4": 74, "getrandom": 278,
        "getcpu": 168, "close_range": 436, "fallocate": 47, "fadvise64": 223, "sendfile": 71, "copy_file_range": 285,
        "flock": 32, "sendto": 206, "recvfrom": 207, "shutdown": 210, "getsockname": 204, "getpeername": 205,
        "getsockopt": 209, "clone": 220, "socketpair": 199, "fcntl": 25, "ioctl": 29, "prctl": 167, "prlimit64": 261,
        "execve": 221, "clone3": 435,
    },
}  # fmt: skip
