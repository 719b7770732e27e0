"""What a training process takes, and what it gives back."""

from __future__ import annotations

import sys
import threading

import psutil
import pytest

from c2vl.training.system_usage import give_memory_back


@pytest.mark.skipif(sys.platform != "linux", reason="glibc keeps what threads have freed")
def test_memory_that_a_thread_freed_goes_back_to_the_system() -> None:
    pins: list[bytearray] = []

    def train() -> None:
        blocks = [bytearray(60_000) for _ in range(3000)]  # each below what malloc would map apart
        pins.extend(bytearray(60_000) for _ in range(2))
        del blocks

    def resident() -> int:
        return psutil.Process().memory_info().rss

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    kept = resident()
    give_memory_back()
    assert kept - resident() > 100_000_000
