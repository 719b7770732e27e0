"""What the test figures of a choice say, in sentences: told apart, or not, and by how much."""

from __future__ import annotations

import math
import statistics

from sweeps.choosing.final_choice import (
    COLUMNS,
    WINNER,
    FinalChoice,
    ends_of_differences,
    row_title,
)


def verdict(final: FinalChoice) -> list[str]:
    """Return a sentence for each row that the winner stands beside, of the table's first column.

    Differences are paired: the same seed with the winner's settings and with the other's.
    """
    return [*_ties(final), *_comparisons(final)]


def heading(final: FinalChoice) -> str:
    """Return what the chosen trial may be called: no winner while the default does as well."""
    if "base" not in final.test or (key := _column(final)) is None:
        return "Winner"
    found = ends_of_differences(final.apart("base", key))
    if found is None or found[0] <= 0 <= found[1]:
        return "Chosen, but not told from the base experiment"
    return "Winner" if found[1] < 0 else "Chosen, but below the base experiment"


def _column(final: FinalChoice) -> str | None:
    """The first column of the table that the winner has."""
    winner = final.test.get(WINNER, {})
    return next((key for key in COLUMNS if any(key in one for one in winner.values())), None)


def _ties(final: FinalChoice) -> list[str]:
    means = {trial: statistics.mean(values) for trial, values in final.candidate_values.items()}
    own = str(final.trial)
    told = [
        f"Trial {trial} ties on {final.metric} with one that was kept when candidates were chosen; "
        "the one that ranked first was kept."
        for trial in final.tied
    ]
    same = [trial for trial, mean in means.items() if trial != own and mean == means.get(own)]
    if not same:
        return told
    others = ", ".join(same)
    return [
        *told,
        f"Trial {own} ties with {others} on {final.metric}; the one that ranked first is taken.",
    ]


def _comparisons(final: FinalChoice) -> list[str]:
    if (key := _column(final)) is None:
        return []
    found = []
    for who in final.test:
        apart = final.apart(who, key)
        if who != WINNER and apart:
            told = _told(row_title(who), [-points for points in apart])
            found.append(f"{COLUMNS[key]}, test part: {told}.")
    return found


def _told(name: str, differences: list[float]) -> str:
    mean, count = statistics.mean(differences), len(differences)
    if not any(differences):
        return f'the winner scores what "{name}" scores, seed by seed'
    way = f'{abs(mean):.1f} points {"above" if mean > 0 else "below"} "{name}"'
    if count == 1:
        return f"the winner is {way} with one seed, which tells nothing apart"
    if (found := ends_of_differences(differences)) is None:
        return (
            f"the winner is {way} with each of {count} seeds alike, which tells nothing of others"
        )
    low, high = found
    interval = f"95 % interval of the difference {low:.1f} to {high:.1f}, n = {count}"
    if math.copysign(1, low) == math.copysign(1, high):
        return f"the winner is {way} ({interval})"
    return f'the winner CANNOT be told from "{name}": {way} ({interval})'
