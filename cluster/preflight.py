"""Checks every node before the first trial: ``python -m cluster.preflight ROOT`` in a job.

A sweep needs a folder, or a URL, that all nodes share and can write, the same versions everywhere,
and some free disk.
"""

from __future__ import annotations

import logging
import os
import sys

from c2vl.support.errors import UserError
from c2vl.support.remote import Location, parse_location
from c2vl.support.versions import versions
from sweeps.planning.nodes import PACKAGES, NodeReport, inspect_nodes, problems_of

MIN_FREE_BYTES = 2 * 10**9


def check(root: Location) -> tuple[list[NodeReport], list[str]]:
    """Inspect every living node of the cluster that this process can join.

    Returns:
        The reports, and the problems with their remedies.

    Raises:
        UserError: no cluster is running, or ``root`` cannot be made.
    """
    import ray

    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError:
        raise UserError(
            "no Ray cluster here: `c2vl-cluster up` first, then `c2vl-cluster preflight`"
        ) from None
    try:
        reports, problems = inspect_nodes(root)
        return reports, problems + problems_of(reports, versions(PACKAGES), MIN_FREE_BYTES)
    finally:
        ray.shutdown()


def main(arguments: list[str]) -> int:
    """Print each node's findings; return 0 if a sweep may start, else 2."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        reports, problems = check(parse_location(arguments[0] if arguments else "."))
    except UserError as error:
        reports, problems = [], [str(error)]
    for result in reports:
        if not result.problem:
            print(f"preflight: {result.node}: {result.free_bytes / 1e9:.0f} GB free")
    for problem in problems:
        print(f"preflight: {problem}", file=sys.stderr)
    if not problems:
        print(f"preflight: {len(reports)} nodes are ready")
    return 2 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
