"""Programs in a fresh interpreter in which some modules cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable


def run_without(modules: Iterable[str], program: str) -> subprocess.CompletedProcess[str]:
    """Run a program where importing any of the modules raises ImportError."""
    poison = f"import sys; sys.modules.update(dict.fromkeys({sorted(modules)!r}))\n"
    return subprocess.run([sys.executable, "-c", poison + program], capture_output=True, text=True)
