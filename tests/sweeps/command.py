"""The command line as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO


def start(
    *words: object, cwd: Path, output: IO[str] | int = subprocess.PIPE, **variables: str
) -> subprocess.Popen[str]:
    """Start ``c2vl-sweep`` in a session of its own, with more variables in its environment."""
    command = [str(Path(sys.executable).with_name("c2vl-sweep")), *map(str, words)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return subprocess.Popen(
        command,
        cwd=cwd,
        env={**environment, "COLUMNS": "200", "OMP_NUM_THREADS": "1", **variables},
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
