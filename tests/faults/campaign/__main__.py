"""The command; see the package."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.campaign.results import Result
from tests.faults.campaign.run import campaign


def table(results: list[Result]) -> Table:
    """Results for reading."""
    shown = Table("sweep", "workers", "on", "killed", "exit codes", "trials", "compared", "s", "")
    for result in results:
        plan = result.plan
        shown.add_row(
            str(plan.number),
            str(plan.workers),
            f"{plan.nodes} nodes" if plan.nodes else "own Ray",
            ", ".join(result.killed) or "-",
            " ".join(map(str, result.starts)),
            ", ".join(f"{count} {name.lower()}" for name, count in result.outcomes.items()),
            result.compared or "-",
            f"{result.seconds:.0f}",
            "; ".join(result.violations) or "holds",
        )
    return shown


def main() -> int:
    """Run it; 0 if everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign")
    parser.add_argument("--sweeps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nodes", type=int, default=3, help="of the cluster; 0: no cluster")
    parser.add_argument("--minutes", type=float, default=600.0, help="no sweep starts after these")
    parser.add_argument("--out", type=Path, default=Path("runs/campaign"))
    words = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    out = words.out.absolute()
    results = campaign(out, words.sweeps, words.seed, words.nodes, words.minutes)
    Console(width=200).print(table(results))
    held = sum(not result.violations for result in results)
    print(f"{held} of {len(results)} sweeps: all holds; {out / 'results.json'}")
    return 0 if held == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
