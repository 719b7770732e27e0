"""What is to happen to a sweep of a campaign, what happened, and both as a file."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """What is to happen to one sweep.

    Attributes:
        number: of the sweep in its campaign.
        workers: of each training.
        nodes: of the cluster it runs on; 0: a Ray of its own.
        kills: how far the sweep is to be by then (see :meth:`Sweep.wait`), and a draw that picks
            the victim.
    """

    number: int
    workers: int
    nodes: int
    kills: tuple[tuple[float, float], ...]


@dataclass
class Result:
    """What happened to it, and what did not hold."""

    plan: Plan
    killed: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    compared: str = ""
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


def planned(seed: int, number: int, nodes: int) -> Plan:
    """Draw a sweep's plan; the same seed and number draw the same."""
    draw = random.Random(f"{seed}/{number}")
    kills = tuple(sorted((draw.random(), draw.random()) for _ in range(draw.randint(1, 3))))
    return Plan(number, draw.choice((1, 2)), nodes if draw.random() < 0.5 else 0, kills)


def write(path: Path, seed: int, results: list[Result]) -> None:
    """Write results as JSON."""
    rows = [asdict(result) for result in results]
    path.write_text(json.dumps({"seed": seed, "sweeps": rows}, indent=1) + "\n", encoding="utf-8")


def read(path: Path, seed: int, nodes: int) -> list[Result]:
    """Read what an earlier start of the same campaign has written."""
    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))
    plans = [planned(seed, number, nodes) for number in range(len(found["sweeps"]))]
    told = [json.loads(json.dumps(asdict(plan))) for plan in plans]
    if found["seed"] != seed or [row["plan"] for row in found["sweeps"]] != told:
        raise SystemExit(f"{path}: of another campaign; remove it, or name another folder: --out")
    return [
        Result(**{**row, "plan": plan}) for row, plan in zip(found["sweeps"], plans, strict=True)
    ]
