"""The table of figures is what training reports, and what pages say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from c2vl.support.errors import UserError
from c2vl.training import figures
from c2vl.training.figures import FIGURES, Figure
from c2vl.training.launch import fit
from c2vl.training.learner import Learner
from c2vl.training.loop import Tally

ROOT = Path(__file__).parents[2]


def test_training_reports_what_the_table_says_and_nothing_else(
    experiment: Any, tmp_path: Path
) -> None:
    settings = experiment(
        train__epochs=1, train__evaluate_every=1, train__system_metrics=True, optim__clip=1.0
    )
    row = fit(settings, tmp_path / "run", name="run")
    absent = {name for name in figures.names() if figures.lacking(name, settings)}
    absent.add("system_gpu_memory_mib")  # of a GPU alone
    assert row.keys() - figures.COUNTERS == set(figures.names()) - absent
    assert row["grad_norm"] > 0


def test_a_figure_of_somebodys_objective_is_kept_as_its_mean(
    experiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: Learner, batch: Any, at: int) -> dict[str, float]:
        return {"loss": 1.0, "at": float(at), **({"odd": float(at)} if at % 2 else {})}

    monkeypatch.setattr(Learner, "step", step)
    settings = experiment(train__epochs=1)
    row = fit(settings, tmp_path / "run", name="run")
    steps = row["step"]
    assert row["at"] == (steps - 1) / 2
    assert row["odd"] == sum(range(1, steps, 2)) / len(range(1, steps, 2))
    assert figures.describe("odd").better == "" and figures.describe("odd").sign == 0


def test_a_tally_goes_on_from_a_checkpoint_of_now_and_of_before_counts() -> None:
    tally, straight = Tally(), Tally()
    for each in (tally, straight):
        each.add({"loss": 1.0}, waited=0.0, samples=2)
        each.add({"loss": 2.0}, waited=0.0, samples=2)
    for state in (tally.state(), {"sums": dict(tally.state()["sums"])}):
        resumed = Tally()
        resumed.load({name: dict(values) for name, values in state.items()})
        resumed.add({"loss": 6.0}, waited=0.0, samples=2)
        assert resumed.figures()["loss"] == 3.0
    assert Tally().state() == {"sums": {}, "counts": {}}


@pytest.mark.parametrize("name", ["seconds", "steps", "epoch", "linear_val"])
def test_an_objective_cannot_return_what_the_loop_reports(name: str) -> None:
    with pytest.raises(UserError, match=f"it returns {name}, which the loop reports"):
        Tally().add({"loss": 1.0, name: 1.0}, waited=0.0, samples=2)


def test_an_added_figure_is_known_and_a_taken_name_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(figures, "FIGURES", list(FIGURES))
    mine = Figure("entropy", "of the targets", "step", "higher", labels=False)
    figures.add(mine)
    figures.add(mine)  # its module was imported twice
    assert figures.names().count("entropy") == 1 and figures.describe("entropy") is mine
    for taken in ("entropy", "loss_skeleton_vision", "epoch"):
        with pytest.raises(UserError, match=f"{taken}: training reports"):
            figures.add(Figure(taken, "mine", "step"))


def test_the_page_has_the_table() -> None:
    """Print ``c2vl.training.figures.markdown()`` into docs/sweeps.md where this fails."""
    assert figures.markdown() in (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")


def test_names_stand_once() -> None:
    names = figures.names()
    assert len(names) == len(set(names))
    assert all(one.over or "*" not in one.name for one in FIGURES)
