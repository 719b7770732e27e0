"""The command line as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def start(*words: object, cwd: Path) -> subprocess.Popen[str]:
    """Start ``c2vl-sweep`` in a process group of its own."""
    command = [str(Path(sys.executable).with_name("c2vl-sweep")), *map(str, words)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return subprocess.Popen(
        command,
        cwd=cwd,
        env={**environment, "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
