"""What is shown of a sweep, and what is left when it is deleted."""

from __future__ import annotations

import io
import json
import re
import shutil
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from click.testing import CliRunner, Result
from rich.console import Console

from c2vl.support.errors import UserError
from sweeps.choosing.final_choice import FinalChoice, write_choice
from sweeps.commands.inspecting import best, compare, importance, list_
from sweeps.commands.outputs import export
from sweeps.commands.records import delete
from sweeps.report import watch
from sweeps.search.study import reader
from sweeps.spec.lock import locked
from sweeps.spec.reading import dump_sweep, read_sweep
from sweeps.spec.sweep_folder import SweepFolder
from sweeps.tracking import deletion
from tests.sweeps.stores import client, outcomes, runs, trials
from tests.sweeps.synthetic import NUMERIC, fill, sweep

pytestmark = [pytest.mark.ray, pytest.mark.mlflow]


def test_list_and_compare(finished_copy: Path) -> None:
    (listed,) = json.loads(CliRunner().invoke(list_, ["--json"]).output)
    wanted = {"sweep": "small", "asked": 3, "complete": 2, "pruned": 1, "driven": False}
    assert wanted.items() <= listed.items()
    words = ["small-0000", "small-0002", "--json"]
    found = {row.pop(""): row for row in json.loads(CliRunner().invoke(compare, words).output)}
    assert found["optim.lr"] == {"small-0000": 0.001, "small-0002": 0.01}
    assert "objective.temperature" not in found and "train.epochs" not in found  # they agree
    assert found["outcome"] == {"small-0000": "complete", "small-0002": "complete"}
    values = {f"small-{trial.number:04d}": trial.value for trial in trials(finished_copy)}
    assert found["loss"] == pytest.approx({name: values[name] for name in found["loss"]})
    final = json.loads((finished_copy / "sweeps/small/final.json").read_text())
    assert found["winner"][f"small-{final['trial']:04d}"] == final["trial"]
    shutil.copytree(finished_copy / "sweeps/small", finished_copy / "sweeps/other")
    path = finished_copy / "sweeps/other/sweep.yaml"
    changed = yaml.safe_load(path.read_text()) | {"name": "other", "trials": 5}
    path.write_text(yaml.safe_dump(changed, sort_keys=False))
    optuna.copy_study(
        from_study_name="small",
        from_storage=f"sqlite:///{path.with_name('study.db')}",
        to_storage=f"sqlite:///{path.with_name('study.db')}",
        to_study_name="other",
    )
    shown = CliRunner().invoke(compare, ["small", "other"])
    assert shown.exit_code == 0, shown.output
    rows = [line.split("│")[1:4] for line in shown.output.splitlines() if line.startswith("│")]
    settings = [[cell.strip() for cell in row] for row in rows]
    assert settings[0] == ["trials", "3", "5"] and settings[1][0] == "complete"
    for words, message in ((["small", "smal"], "did you mean"), (["small"], "two or more")):
        assert message in str(CliRunner().invoke(compare, words).exception)


def test_a_sweep_that_cannot_be_read_is_listed_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("broken", "good", "studyless"):
        spec = sweep(Path(), NUMERIC, 2, name=name)
        spec.folder.path.mkdir(parents=True)
        (spec.folder / "sweep.yaml").write_text(dump_sweep(spec))
        if name != "studyless":
            optuna.create_study(study_name=name, storage=spec.study_uri)
    path = read_sweep(Path("runs"), "broken").folder / "sweep.yaml"
    path.write_text(path.read_text().replace("trials: 2", "trials: x"))
    done = CliRunner().invoke(list_, ["--json"])
    found = {row["sweep"]: row for row in json.loads(done.output)}
    assert done.exit_code == 0 and found["good"]["asked"] == 2 and "error" not in found["good"]
    assert "trials: must be a whole number" in found["broken"]["error"]
    assert "has no study yet" in found["studyless"]["error"]
    shown = CliRunner().invoke(list_, [])
    assert shown.exit_code == 0 and "whole number" in shown.output and "good" in shown.output


def test_watching_what_has_ended_and_what_runs(finished_copy: Path) -> None:
    spec = read_sweep(finished_copy, "small")
    out = io.StringIO()
    watch.follow(spec, Console(file=out, width=200))
    assert "3/3 ended, 0 running, 2 complete, 1 pruned, 0 failed, best loss" in out.getvalue()
    study = optuna.load_study(study_name="small", storage=spec.study_uri)
    trial = study.ask()  # one that runs, with two epochs behind it
    trial.suggest_float("optim.lr", 1e-6, 10.0, log=True)
    folder = spec.folder / "trials/small-0003"
    folder.mkdir()
    lines = [{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 2.5}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    more = spec.model_copy(update={"trials": 6})
    with locked(spec.folder, "small", make=False):
        now = watch.moment(more, reader(spec))
    assert now.driven and now.counts["running"] == 1 and now.left is not None
    assert re.search(r"about \S+ (s|min|h) left", now.line())
    shown = Console(file=(text := io.StringIO()), width=200)
    shown.print(watch.table(now))
    (row,) = [line for line in text.getvalue().splitlines() if "small-0003" in line]
    cells = [cell.strip() for cell in row.split("│")[1:-1]]
    assert cells == ["small-0003", "running", "2/4", "2/2", "2.5000", "█▁"]
    assert watch.moment(more, reader(spec)).counts["interrupted"] == 1


def test_sparklines() -> None:
    assert watch.sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == watch.BARS
    assert watch.sparkline([2.0, 2.0]) == "▁▁"
    assert watch.sparkline([]) == "" and len(watch.sparkline(list(range(99)))) == watch.WIDTH


def test_importance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for count, name in ((8, "many"), (2, "few")):
        spec = sweep(Path(), NUMERIC, count, name=name, pruner={"name": "none"})
        study = fill(spec, count, failing=0)
        optuna.copy_study(
            from_study_name=study.study_name,
            from_storage=study._storage,
            to_storage=f"sqlite:///{spec.folder / 'study.db'}",
            to_study_name=name,
        )
        (spec.folder / "sweep.yaml").write_text(dump_sweep(spec))
    found = json.loads(CliRunner().invoke(importance, ["many", "--json"]).output)
    assert set(found["variables"]) == set(NUMERIC)
    shown = CliRunner().invoke(importance, ["many"]).output
    first = next(iter(found["variables"]))
    assert first in shown and f"{found['variables'][first]['share']:.2f}" in shown
    assert f"up to {100 * found['noise']:.0f} %" in shown
    assert "are needed" in str(CliRunner().invoke(importance, ["few"]).exception)


def test_best_is_what_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = sweep(Path(), NUMERIC, 4, pruner={"name": "none"})
    study = fill(spec, 4, failing=0)
    broken = optuna.create_study(study_name="broken", storage=f"sqlite:///{tmp_path}/broken.db")
    for frozen in study.trials:
        frozen.set_constraint("seconds <= 1", 1.0)
        broken.add_trial(frozen)
    uri = f"sqlite:///{spec.folder / 'study.db'}"
    optuna.copy_study(from_study_name=study.study_name, from_storage=study._storage,
                      to_storage=uri)  # fmt: skip
    (spec.folder / "sweep.yaml").write_text(dump_sweep(spec))
    first, second = reader(spec).ranking()[:2]
    said = CliRunner().invoke(best, ["synthetic"]).output
    assert said.startswith(f"synthetic-{first.number:04d}: knn_val {first.values[0]:.4f}\n")
    test = {"winner": {"0": {"linear": 0.5}}, "base": {"0": {"linear": 0.4}}}
    write_choice(spec.folder, FinalChoice(
        "synthetic", "", "knn_val", second.number, dict(second.drawn), "", "",
        {"a": 0.5, "b": 0.6}, {}, test,
    ))  # fmt: skip
    said = CliRunner().invoke(best, ["synthetic"]).output
    assert said.startswith(f"synthetic-{second.number:04d}: knn_val 0.5500, mean of 2 seeds")
    assert "Chosen, but not told from the base experiment" in said.splitlines()[0]
    spec.folder.final.unlink()
    spec.folder.encoder.mkdir()
    message = str(CliRunner().invoke(export, ["synthetic", "--register"]).exception)
    assert "final.json is gone" in message and "c2vl-sweep resume synthetic" in message
    Path(spec.folder / "study.db").unlink()
    optuna.copy_study(from_study_name="broken", from_storage=f"sqlite:///{tmp_path}/broken.db",
                      to_storage=uri, to_study_name="synthetic")  # fmt: skip
    message = str(CliRunner().invoke(best, ["synthetic"]).exception)
    assert "each of the 4 complete trials breaks a constraint on figures" in message


def test_deleting_takes_all_of_it_and_goes_on_where_it_was_cut(
    finished_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, folder = finished_copy, finished_copy / "sweeps/small"
    with locked(SweepFolder(folder), "small", make=False):
        refused = run("small", "--yes")
    assert "is running already" in str(refused.exception)
    asked = run("small", input="n\n")
    assert "Delete them?" in asked.output and isinstance(asked.exception, UserError)
    assert len(outcomes(storage)) == 2 and folder.exists()
    view = f"mlflow.sharedViewState.{SweepFolder(folder).identity()}"
    assert view in _experiment(storage).tags
    with monkeypatch.context() as cut:  # a kill between MLflow and the folder
        cut.setattr(deletion.os, "replace", _cut)
        assert isinstance(run("small", "--yes").exception, InterruptedError)
    assert not runs(storage, "trial") and (folder / "final.json").exists()
    with monkeypatch.context() as cut:  # and one in the middle of the files
        cut.setattr(deletion, "finish", _cut)
        assert isinstance(run("small", "--yes").exception, InterruptedError)
    assert not folder.exists() and any((storage / "sweeps").iterdir())
    done = run("small", "--yes")
    assert done.exit_code == 0 and "small: deleted" in done.output
    assert not any((storage / "sweeps").iterdir())
    assert not runs(storage, "sweep") and not runs(storage, "final")
    assert view not in _experiment(storage).tags
    assert len(client(storage).search_model_versions("name = 'small'")) == 1
    assert "no such sweep" in str(run("small").exception)


def _experiment(storage: Path) -> Any:
    found = client(storage).get_experiment_by_name("c2vl")
    assert found is not None
    return found


def run(*words: str, input: str | None = None) -> Result:
    return CliRunner().invoke(delete, list(words), input=input)


def _cut(*_: object) -> None:
    raise InterruptedError


def test_a_sweep_that_has_just_been_started_is_waited_for(
    finished: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, _ = finished
    late = tmp_path / "runs"

    def start() -> None:
        late.symlink_to(storage)

    timer = threading.Timer(0.7, start)
    timer.start()
    assert watch.begun(late, "small", 20).name == "small"
    timer.join()
    assert "no such sweep" in (said := capsys.readouterr().err) and "waits 20 s" in said
    with pytest.raises(UserError, match="no such sweep"):
        watch.begun(late, "smal", 0.1)
