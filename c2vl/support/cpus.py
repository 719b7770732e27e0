"""How many CPUs there are for us."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cpus() -> int:
    """Return the CPUs that this process may use: its affinity (SLURM), its container's quota."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return max(1, min(cpus, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or no quota ("max")
        return cpus
