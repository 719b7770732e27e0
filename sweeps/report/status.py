"""Where a sweep stands: its trials by outcome, and whether a process drives it."""

from __future__ import annotations

from typing import Any

from sweeps.choosing.final_choice import read_choice
from sweeps.choosing.reliability import told_apart
from sweeps.report.tables import rows_of
from sweeps.report.trials import read_ended
from sweeps.search.study import StudyReader, reader
from sweeps.spec.lock import is_running, refresh
from sweeps.spec.sweep import SweepSettings

COUNTS = ("asked", "complete", "pruned", "failed", "running", "interrupted")


def state(spec: SweepSettings) -> dict[str, Any]:
    """Return counts and trials; a trial that nobody drives is "interrupted", not "running".

    Returns:
        The keys of ``COUNTS``, "driven", "unfinished" (trials to come, or no choice made yet),
        "nodes_wanted" (those that its trials wait for in vain, in words), "told_apart" (how far
        it could tell settings apart, in sentences) and "trials"
        (:func:`sweeps.report.tables.rows_of`).
    """
    refresh(spec.folder, runs=True)
    driven = is_running(spec.folder)
    study = reader(spec).as_it_is_now()
    return {
        "sweep": spec.name,
        **counts(spec, study, driven=driven),
        "driven": driven,
        "unfinished": unfinished(spec, study),
        "nodes_wanted": nodes_wanted(spec) if driven else "",
        "told_apart": told_apart(spec, study.trials("complete"), read_choice(spec.folder)),
        "trials": rows_of(spec, read_ended(study)),
    }


def nodes_wanted(spec: SweepSettings) -> str:
    """Return which nodes a running sweep's trials wait for in vain; empty if for none."""
    try:
        return spec.folder.nodes_wanted.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def counts(spec: SweepSettings, study: StudyReader, *, driven: bool) -> dict[str, int]:
    """Return how many trials stand where, by the names in ``COUNTS``."""
    found = study.counts()
    going = found.pop("running", 0)
    return {
        "asked": spec.trials,
        **{key: found[key] for key in ("complete", "pruned", "failed")},
        "running": going if driven else 0,
        "interrupted": 0 if driven else going,
    }


def unfinished(spec: SweepSettings, study: StudyReader) -> bool:
    """Say whether a resume has something to do."""
    found = study.counts()
    ended = sum(number for key, number in found.items() if key != "running")
    return ended < spec.trials or not spec.folder.chosen
