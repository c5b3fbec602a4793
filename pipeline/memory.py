"""How large this process is, and how it is kept from growing by holes."""

from __future__ import annotations

import ctypes
import os
import sys

#: glibc's names for what `mallopt` sets, and what we set it to. A heap a thread, as it has by default, keeps the holes
#: that each thread's largest moment has left; with the interpreter's lock, threads do not compete for two. A threshold
#: that is set stays: the default one grows with what is freed, and larger blocks then stay with the process.
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
ARENAS, LARGE = 2, 128 * 1024


def resident() -> int:
    """Bytes of memory that this process has in use; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - the cheapest way, once a task in child processes
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return 0


def share_heaps() -> bool:
    """Have this process's threads share a few heaps. To be called before they are started. Returns whether the system
    can: where its C library is not glibc, nothing is changed."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # musl has none, or one that does nothing and says so
    return mallopt is not None and all([mallopt(M_ARENA_MAX, ARENAS), mallopt(M_MMAP_THRESHOLD, LARGE)])
