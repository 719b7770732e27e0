"""What needs machines of their own; the whole way is ``make cluster-test``."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.cluster import machines


def test_from_a_wheel_and_an_empty_home_data_reaches_another_machine() -> None:
    if why := machines.refusal():
        pytest.skip(why)
    words = [sys.executable, "-m", "tests.cluster.three_machines", "data"]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"sequences\s+│ 104 ", done.stdout), done.stdout
