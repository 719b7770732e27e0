"""The sweeps of a campaign, one after another."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from cluster import auth
from tests.faults.campaign.ground import Ground
from tests.faults.campaign.results import Result, planned, read, write
from tests.faults.campaign.sweep import Sweep


def campaign(folder: Path, sweeps: int, seed: int, nodes: int, minutes: float) -> list[Result]:
    """Run a campaign, or the rest of it; return what happened.

    Args:
        folder: holds everything; what an earlier start of the same campaign found there stands.
        sweeps: how many.
        seed: of the plans.
        nodes: of the cluster that half of them use; 0: none do.
        minutes: no sweep starts after so long.
    """
    if nodes:  # before a training for comparison loads Ray, which asks once whether to use a token
        auth.ensure_token()
        auth.enable()
    deadline = time.monotonic() + 60 * minutes
    ground, results = Ground(folder), read(folder / "results.json", seed, nodes)
    with ExitStack() as stack:
        stack.callback(ground.close)
        for number in range(len(results), sweeps):
            if time.monotonic() > deadline:
                break
            result = Sweep(planned(seed, number, nodes), ground).run()
            results.append(result)
            state = "; ".join(result.violations) or "all holds"
            print(
                f"sweep {number}: killed {', '.join(result.killed) or 'nothing'}; exit codes "
                f"{result.starts}; {result.seconds:.0f} s; {state}",
                flush=True,
            )
            write(folder / "results.json", seed, results)
    return results
