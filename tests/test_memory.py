"""What a process knows of its own size, and that its threads share their heaps."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from pipeline import memory

#: Threads that take memory and give it back, all at once; then the number of heaps that are left.
MANY_THREADS = """
import ctypes, sys, threading
from pipeline import memory
if sys.argv[1] == "shared":
    assert memory.share_heaps()
together = threading.Barrier(16)
def work():
    together.wait(60)
    kept = [bytes(4000) for _ in range(200)]
    together.wait(60)
threads = [threading.Thread(target=work) for _ in range(16)]
[one.start() for one in threads]
[one.join() for one in threads]
ctypes.CDLL(None).malloc_stats()
"""


def heaps(how: str) -> int:
    run = subprocess.run(
        [sys.executable, "-c", MANY_THREADS, how], capture_output=True, text=True, timeout=60, check=True
    )
    return run.stderr.count("Arena ")


def test_what_a_process_says_of_its_size_is_what_the_system_says() -> None:
    assert memory.resident() == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="heaps are shared where the C library is glibc")
def test_threads_share_two_heaps_where_each_would_have_its_own() -> None:
    assert heaps("shared") <= memory.ARENAS < heaps("apart")
