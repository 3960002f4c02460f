"""A process that can write nothing: for SQL that a person typed.

DuckDB's own settings do not suffice: `allowed_directories` allows reading and writing alike, and its memory limit does not
count everything. So the system holds the process: no file may grow (RLIMIT_FSIZE), its address space is bounded, and
where the kernel has Landlock (Linux 5.13), nothing can be opened for writing, made, shortened, renamed or removed, nor,
from 6.7 on, any TCP connection be made. What is open already, such as a pipe for the answer, stays usable.
"""

from __future__ import annotations

import ctypes
import os
import resource

_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # the same numbers on every architecture
_NO_NEW_PRIVILEGES = 38
_ASKS_VERSION = 1
# include/uapi/linux/landlock.h: writing, removing, making of every kind; since version 2 refer, since 3 truncate.
_WRITE_FILE = 1 << 1
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_BIND_AND_CONNECT = 0b11


def confine(address_space: int) -> bool:
    """From now on this process, and every thread it starts, writes nothing. Returns whether the kernel has Landlock.

    Units: bytes. Call it before any other thread is started: threads that run already are not held.
    """
    for what, most in (
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, address_space),
    ):
        hard = resource.getrlimit(what)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (limit, limit))
    return _writes_nothing()


def _writes_nothing() -> bool:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        version = int(libc.syscall(_CREATE_RULESET, None, 0, _ASKS_VERSION))
    except (OSError, AttributeError):  # not Linux, or a C library without it
        return False
    if version < 1:
        return False
    files = _WRITE_FILE | _REMOVE_AND_MAKE | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    handled = (ctypes.c_uint64 * 2)(files, _BIND_AND_CONNECT if version >= 4 else 0)
    rules = libc.syscall(_CREATE_RULESET, ctypes.byref(handled), 16 if version >= 4 else 8, 0)
    if rules < 0:
        return False
    try:
        # No rule is added: what is handled and not allowed is refused everywhere.
        return bool(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0 and libc.syscall(_RESTRICT_SELF, rules, 0) == 0)
    finally:
        os.close(rules)
