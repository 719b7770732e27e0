"""What is trained after the search, and what is not trained twice."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from c2vl.support.errors import UserError
from c2vl.support.files import write_text
from sweeps.choosing.candidates import choose, rounds
from sweeps.choosing.final_choice import FinalChoice, write_choice
from sweeps.choosing.final_trainings import references, trainings_of_row
from sweeps.choosing.summary import marks, metrics
from sweeps.choosing.verdict import verdict
from sweeps.spec.objective import Objective
from sweeps.spec.space import experiment
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import Training
from tests.small import parse_sweep


def sweep(folder: Path) -> SweepSettings:
    return parse_sweep(
        {
            "name": "s",
            "storage": str(folder),
            "base": {"optim": {"lr": 0.1}},
            "space": {"optim.lr": {"type": "float", "low": 0.01, "high": 1.0}},
            "final": {
                "seeds": [0, 1],
                "candidates": 2,
                "beside": ["base", "hard", "supervised", "aimclr", "cold"],
                "variants": {"cold": {"objective.temperature": 0.05}},
            },
        },
        "s.yaml",
    )


def trial(spec: SweepSettings, number: int, lr: float) -> Training:
    values = {"optim.lr": lr}
    settings = experiment(spec.base, spec.space, values)
    name = f"s-{number:04d}"
    settings = settings.model_copy(update={"name": name})
    return Training(name, settings, spec.folder / "trials" / name, "trial", number, values)


def names(trainings: list[Training]) -> list[str]:
    return [training.name for training in trainings]


def test_every_row_has_every_seed_and_the_winners_budget(tmp_path: Path) -> None:
    spec = sweep(tmp_path)
    ranked = [(trial(spec, 4, 0.2), 0.9), (trial(spec, 2, 0.3), 0.8), (trial(spec, 1, 0.4), 0.7)]
    assert names(next(rounds(spec, ranked))) == ["s-final-0004-s1", "s-final-0002-s1"]
    winner = ranked[0][0]
    trainings = references(spec, ranked, winner)
    rows = ("base", "0004-hard", "0004-supervised", "0004-aimclr", "0004-cold")
    assert names(trainings) == [f"s-final-{who}-s{seed}" for who in rows for seed in (0, 1)]
    base, hard, supervised, aimclr, cold = (one.experiment for one in trainings[1::2])
    assert base.optim.lr == 0.1
    assert {one.optim.lr for one in (hard, supervised, aimclr, cold)} == {0.2}
    # An objective has its own temperature, not the winner's.
    assert [one.objective.model_dump().get("temperature") for one in (aimclr, cold)] == [0.07, 0.05]
    assert hard.objective.targets == "hard" and supervised.objective.name == "supervised"
    assert {training.experiment.train for training in trainings} == {winner.experiment.train}
    assert [training.experiment.seed for training in trainings] == [0, 1] * 5


def test_a_trial_with_the_bases_settings_is_the_base(tmp_path: Path) -> None:
    spec = sweep(tmp_path)
    ranked = [(trial(spec, 4, 0.2), 0.9), (trial(spec, 0, 0.1), 0.8)]
    winner = ranked[0][0]
    assert names(trainings_of_row(spec, ranked, winner, "base")) == ["s-0000", "s-final-0000-s1"]
    again = set(names(references(spec, ranked, winner))) & set(names(next(rounds(spec, ranked))))
    assert again == {"s-final-0000-s1"}  # the same run: done already by then


def test_rounds_leave_the_worse_half_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three candidates, ranked 0.9, 0.8, 0.7 in the search; seed 1 turns that round."""
    monkeypatch.setattr("sweeps.choosing.candidates._data", lambda _: "data")
    plain = sweep(tmp_path)
    final = plain.final.model_copy(update={"seeds": [1, 0, 2], "candidates": 3, "rounds": True})
    objective = Objective(metric="knn_val")
    spec = plain.model_copy(update={"final": final, "objectives": [objective]})
    ranked = [(trial(spec, n, 0.1 * n), value) for n, value in ((2, 0.9), (5, 0.8), (1, 0.7))]
    value = {(2, 1): 0.1, (5, 1): 0.7, (1, 1): 0.7, (5, 2): 0.5, (1, 2): 0.66}

    def trained() -> list[list[str]]:
        asked = []
        for trainings in rounds(spec, ranked):
            left = [training for training in trainings if not training.folder.exists()]
            asked.append(names(left))
            for training in left:
                row = {"epoch": 1, "knn_val": value[training.number, training.experiment.seed]}
                write_text(training.folder / "metrics.jsonl", json.dumps(row))
        return asked

    assert trained() == [
        ["s-final-0002-s1", "s-final-0005-s1", "s-final-0001-s1"],
        ["s-final-0005-s2", "s-final-0001-s2"],
    ]
    chosen = choose(spec, ranked)
    assert chosen.trial == 1 and list(chosen.validation.values()) == [0.7, 0.7, 0.66]
    assert chosen.candidate_values == {"2": [0.9, 0.1], "5": [0.8, 0.7, 0.5], "1": [0.7, 0.7, 0.66]}
    assert [row["trial"] for row in chosen.candidates()] == ["1", "2", "5"]
    mean, half = 2.06 / 3, 4.302653 * statistics.stdev([0.7, 0.7, 0.66]) / math.sqrt(3)
    assert chosen.candidates()[0]["95 % interval"] == f"{mean - half:.4f} to {mean + half:.4f}"
    assert chosen.candidates()[1]["95 % interval"] == "0.0000 to 1.0000"  # of 0.9 and 0.1
    assert metrics(chosen, {})["val/knn"] == pytest.approx(mean)
    assert choose(spec, ranked[:1]) == chosen  # what is on disk stands
    former = spec.folder.final.read_text().replace("candidate_values", "judged")
    write_text(spec.folder.final, former)  # as earlier versions called it
    assert choose(spec, ranked[:1]) == chosen

    # Extended, three better trials take the candidates' places; the former winner stays one, and
    # though its one seed and its first two are worth less than theirs, all three are worth more.
    said = {"winner": {"0": {"linear": 0.7}}}
    write_choice(spec.folder, replace(chosen, test=said))
    (spec.folder / "encoder").mkdir()
    spec.folder.set_aside()
    left = {
        path.name for path in spec.folder.path.iterdir() if path.name.startswith(("enc", "final"))
    }
    assert left == {"encoder-1", "final-1.json", "finals"}  # nothing to be taken for the new one
    ranked = [(trial(spec, 7, 0.7), 0.95), *ranked]
    value |= {(7, 1): 0.65, (7, 2): 0.2}
    assert trained() == [["s-final-0007-s1"], ["s-final-0007-s2"]]
    again = choose(spec, ranked)
    assert again.candidate_values == {"7": [0.95, 0.65, 0.2], **chosen.candidate_values}
    assert again.trial == 1 and again.validation == chosen.validation
    assert again.test == said  # the test part is not asked again for the same winner
    marked = marks(spec, again, [replace(chosen, trial=5, validation={"s-0005": 0.8})])
    assert [marked[f"s-000{n}"] for n in (1, 2, 5, 7)] == ["winner", *3 * ["candidate"]]
    assert marks(spec, replace(again, candidate_values={}), [chosen])["s-0002"] == ""  # no more one
    (spec.folder / "final.json").write_text("{")
    with pytest.raises(UserError, match=r"final\.json: is damaged"):
        choose(spec, ranked)


def test_ties_at_a_cut_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.choosing.candidates._data", lambda _: "data")
    plain = sweep(tmp_path)
    final = plain.final.model_copy(update={"seeds": [0], "candidates": 2})
    spec = plain.model_copy(update={"final": final, "objectives": [Objective(metric="knn_val")]})
    values = ((2, 0.9), (5, 0.8), (1, 0.8), (4, 0.7))
    chosen = choose(spec, [(trial(spec, n, 0.1 * n), value) for n, value in values])
    assert chosen.trial == 2 and chosen.tied == [1]
    (sentence,) = verdict(chosen)
    assert sentence.startswith("Trial 1 ties on knn_val with one that was kept")


def test_a_setting_that_was_drawn_twice_is_one_candidate(tmp_path: Path) -> None:
    spec = sweep(tmp_path)
    ranked = [(trial(spec, n, lr), v) for n, lr, v in ((2, 0.2, 0.9), (4, 0.2, 0.9), (0, 0.3, 0.8))]
    assert names(next(rounds(spec, ranked))) == ["s-final-0002-s1", "s-final-0000-s1"]
    few = spec.model_copy(update={"keep": spec.keep.model_copy(update={"encoders": 2})})
    assert names(next(rounds(few, ranked))) == ["s-final-0002-s1"]  # that of trial 0 is gone


def test_a_final_training_without_a_figure_is_named(tmp_path: Path) -> None:
    """Its trial's own value once stood for it, as if a further seed had given it."""
    spec = sweep(tmp_path)
    (training,) = next(rounds(spec, ranked := [(trial(spec, 2, 0.2), 0.9)]))
    write_text(training.folder / "metrics.jsonl", json.dumps({"epoch": 1, "loss": 1.0}))
    with pytest.raises(UserError, match=r"s-final-0002-s1: never reported knn_val .* trains it"):
        choose(spec, ranked)


def test_the_base_has_the_winners_seed_where_seeds_were_searched(tmp_path: Path) -> None:
    plain = sweep(tmp_path)
    spec = plain.model_copy(update={"final": plain.final.model_copy(update={"seeds": []})})
    winner, base = trial(spec, 4, 0.2), trial(spec, 0, 0.1)
    seven = winner.experiment.model_copy(update={"seed": 7})
    winner = replace(winner, experiment=seven)
    ranked = [(winner, 0.9), (base, 0.8)]
    assert names(trainings_of_row(spec, ranked, winner, "base")) == ["s-final-base-s7"]
    assert {one.experiment.seed for one in references(spec, ranked, winner)} == {7}


def test_differences_are_paired_by_seed() -> None:
    test = {
        "winner": {"0": {"linear": 0.80}, "1": {"linear": 0.90}},
        "mine": {"1": {"linear": 0.91}, "0": {"linear": 0.83}, "2": {"linear": 0.1}},
        "captions": {"-": {"linear": 0.7}},
    }
    final = FinalChoice("s", "d", "loss", 0, {}, "r", "f", {}, test=test)
    (row,) = final.differences()
    # 3 and 1 points: mean 2, half of the interval 12.706 · sd √2 / √2
    assert row == {"": "mine", "pairs": "2", "linear": "+2.0 (-10.7 to +14.7)",
                   "linear, SGD": "–", "1-NN": "–", "20-NN": "–"}  # fmt: skip
