"""Commands of this environment, run as a user's shell would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


def call(*words: str, cwd: Path, env: dict[str, str], rc: int = 0, timeout: float = 400) -> str:
    """Run a command to its end; return its output, both streams."""
    done = subprocess.run(
        [str(BIN / words[0]), *words[1:]],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == rc, done.stdout
    return done.stdout
