"""What is said of a winner: told from what stands beside it, or not."""

from __future__ import annotations

import pytest

from sweeps.choosing.final_choice import FinalChoice
from sweeps.choosing.verdict import heading, verdict

WINNER = {"0": {"linear": 0.70}, "1": {"linear": 0.76}, "2": {"linear": 0.73}}


def _choice(**test: dict[str, dict[str, float]]) -> FinalChoice:
    values = {"7": [0.7, 0.8], "3": [0.8, 0.7], "5": [0.6, 0.7]}
    return FinalChoice(
        "mine", "demo xsub", "linear_val", 7, {}, "mine-0007", "trials/mine-0007",
        {"mine-0007": 0.7}, values, test,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ([0.50, 0.55, 0.53], 'the winner is 20.3 points above "base experiment" (95 % interval'),
        ([0.80, 0.60, 0.70], 'CANNOT be told from "base experiment": 3.0 points above'),
        ([0.90, 0.95, 0.93], 'the winner is 19.7 points below "base experiment"'),
        ([0.70, 0.76, 0.73], 'scores what "base experiment" scores, seed by seed'),
        ([0.60, 0.66, 0.63], '10.0 points above "base experiment" with each of 3 seeds alike'),
        ([0.50], '20.0 points above "base experiment" with one seed, which tells nothing apart'),
    ],
)
def test_what_is_said_of_a_winner(base: list[float], said: str) -> None:
    scores = {str(seed): {"linear": value} for seed, value in enumerate(base)}
    tie, sentence = verdict(_choice(winner=WINNER, base=scores, captions={"-": {"linear": 0.9}}))
    assert tie.startswith("Trial 7 ties with 3 on linear_val")
    no_winner = said.startswith("the winner is 20.3") is False
    assert heading(_choice(winner=WINNER, base=scores)).startswith("Chosen" if no_winner else "Win")
    below = heading(_choice(winner=WINNER, base=scores)).endswith("below the base experiment")
    assert below == said.startswith("the winner is 19.7 points below")
    assert said in sentence and ("n = 3" in sentence) == ("interval" in sentence)


def test_what_shares_no_seed_with_the_winner_does_not_make_it_one() -> None:
    assert heading(_choice(winner=WINNER, base={"5": {"linear": 0.1}})).startswith(
        "Chosen, but not"
    )


def test_nothing_is_said_where_nothing_was_scored() -> None:
    assert len(verdict(_choice())) == 1 and heading(_choice()) == "Winner"
    assert "1-NN, test part" in verdict(
        _choice(winner={"0": {"knn1": 0.7}}, random={"0": {"knn1": 0.2}})
    )[1]  # fmt: skip
