"""A final choice as MLflow's pages show it: the sweep's description, its figures, marks on runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from c2vl.support.intervals import interval
from c2vl.support.tables import markdown
from sweeps.choosing.final_choice import FinalChoice, top_of
from sweeps.choosing.verdict import heading
from sweeps.search.study import name_of
from sweeps.spec.sweep import SweepSettings
from sweeps.tracking.pages import metric_name

WINNING, CANDIDATE = "winner", "candidate"


def chosen(spec: SweepSettings, final: FinalChoice, model: str = "") -> str:
    """Return what was chosen, by which figures, and how to load it, as Markdown.

    Args:
        model: address of the registered encoder.
    """
    values = list(final.validation.values())
    spread = interval(values, ".4f", top_of(final.metric))
    over = (
        f"mean of {len(values)} seeds, 95 % interval {spread}"
        if spread
        else "one seed, no interval"
    )
    drawn = [{"setting": f"`{key}`", "value": short(value)} for key, value in final.values.items()]
    said = f"`{metric_name(final.metric)}`: {statistics.mean(values):.4f} ({over})."
    parts = [f"## {heading(final)}: {name_of(spec, final.trial)}", said, _table(drawn)]
    if final.test:
        parts += [f"{final.title}:", _table(final.table())]
    if model:
        parts.append(f"```python\nencoder = c2vl.load_encoder({model!r})\n```")
    return "\n\n".join(part for part in parts if part)


def _table(rows: list[dict[str, str]]) -> str:
    return markdown(rows) if rows else ""


def short(value: Any) -> str:
    """Return a value in few digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def metrics(final: FinalChoice, counts: Mapping[str, int]) -> dict[str, float]:
    """Return the whole sweep's figures: ``val/linear``, ``test/linear``, ``test/base/linear`` …

    Args:
        counts: trials by outcome.
    """
    found = {f"trials/{outcome}": float(number) for outcome, number in counts.items()}
    found[metric_name(final.metric)] = statistics.mean(final.validation.values())
    return found | {f"test/{key}": value for key, value in final.test_means().items()}


def marks(spec: SweepSettings, final: FinalChoice, former: Iterable[FinalChoice]) -> dict[str, str]:
    """Return the mark of each run that a choice is about, by the run's name; empty: no more one.

    Args:
        former: choices from before an extension.
    """
    found: dict[str, str] = {}
    for choice in (*former, final):
        found = dict.fromkeys(found, "")
        found |= {name_of(spec, int(trial)): CANDIDATE for trial in choice.candidate_values}
        found |= dict.fromkeys([name_of(spec, choice.trial), *choice.validation], WINNING)
    return found
