"""A short campaign of random kills; ``python -m tests.faults.campaign`` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.campaign.results import Result, planned, read, write
from tests.faults.campaign.run import campaign

pytestmark = [pytest.mark.ray, pytest.mark.mlflow, pytest.mark.faults]

SEED = 14


def test_plans_are_drawn_from_the_seed() -> None:
    assert planned(3, 7, nodes=3) == planned(3, 7, nodes=3)
    plans = [planned(3, number, nodes=3) for number in range(40)]
    assert {plan.workers for plan in plans} == {1, 2}
    assert {plan.nodes for plan in plans} == {0, 3}
    assert {len(plan.kills) for plan in plans} == {1, 2, 3}


def test_a_campaign_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    done = [Result(planned(3, 0, nodes=3), killed=["node"], starts=[-9, 0], seconds=1.5)]
    write(tmp_path / "results.json", 3, done)
    assert read(tmp_path / "results.json", seed=3, nodes=3) == done
    with pytest.raises(SystemExit, match="another campaign"):
        read(tmp_path / "results.json", seed=4, nodes=3)


@pytest.mark.slow  # minutes; the other files of this folder have each kind of kill
def test_whatever_is_killed_the_sweep_comes_through(tmp_path: Path) -> None:
    (result,) = campaign(tmp_path, sweeps=1, seed=SEED, nodes=0, minutes=1)
    assert result.killed and result.violations == []
