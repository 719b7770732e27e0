"""The loop: learns, repeats itself bit for bit, survives a kill, and stops on nonsense."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from c2vl.commands.train import train
from c2vl.config.reading import dump
from c2vl.encoder import load_encoder
from c2vl.prompts.table import ConceptTable
from c2vl.prompts.table_writing import write_table
from c2vl.protocols.knn import knn
from c2vl.protocols.linear import linear
from c2vl.protocols.task import Task
from c2vl.skeletons.store import Store
from c2vl.support.errors import StorageFull, TrainingError, UserError
from c2vl.training import loop
from c2vl.training.batches import TrainingSet
from c2vl.training.beforehand import require_data
from c2vl.training.figures import short_names
from c2vl.training.launch import fit
from c2vl.training.progress import following
from c2vl.training.run_folder import RunFolder
from tests.small import without_classes


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "encoder" / "encoder.safetensors").read_bytes()).hexdigest()


def same_figures(a: Path, b: Path) -> bool:
    timing = {"seconds", "samples_per_second", "data_wait"}
    rows = [
        [{k: v for k, v in row.items() if k not in timing} for row in RunFolder(folder).rows()]
        for folder in (a, b)
    ]
    return rows[0] == rows[1]


class Stop(Exception):
    pass


def stop_at(epoch: int) -> Any:
    def report(metrics: dict[str, Any]) -> None:
        if metrics["epoch"] == epoch:
            raise Stop

    return report


def test_it_learns_the_concepts(experiment: Any, tmp_path: Path) -> None:
    settings = experiment(train__epochs=25, train__evaluate_every=5, model__dropout=0.0)
    last = fit(settings, tmp_path / "run", name="run")
    rows = RunFolder(tmp_path / "run").rows()
    assert [row["epoch"] for row in rows] == list(range(1, 26))
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.1
    figures = {"knn_val", "linear_val", "rankme", "uniformity", "alignment"}
    scored = [row for row in rows if figures <= row.keys()]
    assert [row["epoch"] for row in scored] == [5, 10, 15, 20, 25]
    assert scored[-1]["alignment"] < scored[0]["alignment"]
    # What is exported is what was scored.
    store = Store.open(settings.data.store)
    encoder = load_encoder(tmp_path / "run" / "encoder")
    task = Task(encoder, store, "xsub", k=2)
    assert linear(task)[0].value == pytest.approx(last["linear_val"], abs=1e-6)
    assert knn(task)[0].value == pytest.approx(last["knn_val"], abs=1e-6)


def test_twice_the_same(experiment: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        fit(experiment(), tmp_path / name, name=name)
    fit(experiment(seed=1), tmp_path / "c", name="c")
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")
    assert same_figures(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "train__ema": 0.9,
            "objective__targets": "inter",
            "objective__teacher": "ema",
            "optim__name": "adamw",
        },
    ],
    ids=["sgd", "ema teacher, adamw"],
)
def test_stopped_and_resumed_equals_straight(
    experiment: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings = experiment(**changes)
    fit(settings, tmp_path / "straight", name="straight")
    with pytest.raises(Stop):
        fit(settings, tmp_path / "cut", name="cut", on_report=stop_at(2))
    assert not RunFolder(tmp_path / "cut").done
    seen: list[int] = []
    fit(settings, tmp_path / "cut", name="cut", on_report=lambda m: seen.append(m["epoch"]))
    assert seen == [3]
    assert weights(tmp_path / "straight") == weights(tmp_path / "cut")
    assert same_figures(tmp_path / "straight", tmp_path / "cut")
    assert fit(settings, tmp_path / "cut", name="cut", on_report=stop_at(1))["epoch"] == 3


@pytest.mark.faults
def test_killed_in_the_middle_of_an_epoch(experiment: Any, tmp_path: Path) -> None:
    """SIGKILL of `c2vl train`, twice, at whatever step it is in; then the same command again."""
    settings = experiment(train__epochs=40, train__checkpoint_steps=2, train__evaluate_every=20)
    fit(settings, tmp_path / "straight", name="straight")
    config, cut = tmp_path / "small.yaml", tmp_path / "cut"
    config.write_text(dump(settings))
    command = [sys.executable, "-m", "c2vl", "train", str(config), "--out", str(cut)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for enough in (4, 30):
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 90
            while len(RunFolder(cut).rows()) < enough:
                assert process.poll() is None, "it ended before it could be killed"
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
    assert not RunFolder(cut).done
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert weights(tmp_path / "straight") == weights(cut)
    assert same_figures(tmp_path / "straight", cut)


def test_a_node_that_is_about_to_go_leaves_a_checkpoint(experiment: Any, tmp_path: Path) -> None:
    settings = experiment(train__checkpoint_every=1000)
    for name, leaves in (("stays", False), ("goes", True)):
        run = RunFolder(tmp_path / name)
        with pytest.raises(Stop):
            loop.train(settings, loop.Session(run, stop_at(2), node_leaves=lambda: leaves))  # noqa: B023
        assert run.checkpoints.exists() == leaves
        fit(settings, run.path, name=name)
    assert weights(tmp_path / "stays") == weights(tmp_path / "goes")


def cut_short(data: bytes) -> bytes:
    return data[:500]


def one_bit(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def test_a_damaged_checkpoint_is_passed_over(experiment: Any, tmp_path: Path, caplog: Any) -> None:
    """The newest one, then both: whatever is lost, the end is the same, and it is said."""
    fit(experiment(), tmp_path / "straight", name="straight")
    for damage, all_of_them in ((cut_short, False), (one_bit, False), (cut_short, True)):
        cut = tmp_path / f"{damage.__name__} {all_of_them}"
        with pytest.raises(Stop):
            fit(experiment(), cut, name="cut", on_report=stop_at(2))
        before, newest = sorted((cut / "checkpoints").glob("step-*.pt"))[-2:]
        for path in (before, newest) if all_of_them else (newest,):
            path.write_bytes(damage(path.read_bytes()))
        fit(experiment(), cut, name="cut")
        said = (cut / "warnings.txt").read_text()
        assert said.splitlines()[0] in caplog.text
        assert newest.name in said and "cannot be read" in said
        used = (
            "starts at the beginning" if all_of_them else f"the one before is used, {before.name}"
        )
        assert used in said
        assert weights(tmp_path / "straight") == weights(cut)
        assert same_figures(tmp_path / "straight", cut)


def test_a_full_disk_stops_with_a_remedy_and_loses_nothing(experiment: Any, tmp_path: Path) -> None:
    """The kernel refuses to write: the second checkpoint's temporary name is ``/dev/full``."""
    fit(experiment(), tmp_path / "straight", name="straight")
    steps = [row["step"] for row in RunFolder(tmp_path / "straight").rows()]
    cut = tmp_path / "cut"
    (cut / "checkpoints").mkdir(parents=True)
    full = cut / "checkpoints" / f".step-{steps[1]:08d}.pt.{os.getpid()}"
    full.symlink_to("/dev/full")
    seen: list[int] = []
    with pytest.raises(StorageFull, match=r"cut: no room is left .* goes on from the last"):
        fit(experiment(), cut, name="cut", on_report=lambda row: seen.append(row["epoch"]))
    assert seen == [1]  # nobody is told of an epoch that is not safe
    files = [path.name for path in (cut / "checkpoints").iterdir()]
    assert files == [f"step-{steps[0]:08d}.pt"] and not RunFolder(cut).done
    fit(experiment(), cut, name="cut", on_report=lambda row: seen.append(row["epoch"]))
    assert seen == [1, 2, 3]
    assert weights(tmp_path / "straight") == weights(cut)
    assert same_figures(tmp_path / "straight", cut)


def test_a_loss_that_is_not_finite_stops_with_a_remedy(experiment: Any, tmp_path: Path) -> None:
    settings = experiment(optim__lr=10, optim__warmup=0, objective__temperature=0.001)
    settings = settings.model_copy(update={"optim": settings.optim.model_copy(update={"lr": 1e30})})
    with pytest.raises((TrainingError, UserError), match=r"lower optim\.lr|optim\.lr"):
        fit(settings, tmp_path / "run", name="run")
    assert not RunFolder(tmp_path / "run").done


def test_another_experiment_does_not_take_the_folder(experiment: Any, tmp_path: Path) -> None:
    fit(experiment(), tmp_path / "run", name="run")
    with pytest.raises(UserError, match="other settings"):
        fit(experiment(optim__lr=0.01), tmp_path / "run", name="run")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.ray)])
def test_a_mistake_takes_no_folder(experiment: Any, tmp_path: Path, workers: int) -> None:
    """Settings that do not fit the data leave nothing, and those put right have the folder."""
    config, out = tmp_path / "small.yaml", tmp_path / "runs" / "run"
    config.write_text(dump(experiment(train__epochs=1, train__workers=workers)))
    words = [str(config), "--out", str(out), "train.cpus_per_worker=0.5"]
    result = CliRunner().invoke(train, [*words, "data.split=nope"])
    assert isinstance(result.exception, UserError) and "nope" in str(result.exception)
    assert not out.exists()
    if workers > 1:  # the rest is the same, and Ray takes a while to start
        return
    out.mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    assert CliRunner().invoke(train, [*words, "data.split=nope"]).exit_code == 1
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    assert CliRunner().invoke(train, words).exit_code == 0
    assert (out / "encoder").is_dir()


def test_a_folder_in_which_nothing_was_trained_is_taken_over(
    experiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an error in the first epoch; not while another run may be in its first epoch."""
    bad = experiment()
    with monkeypatch.context() as patch:
        patch.setattr("c2vl.training.loop.math", SimpleNamespace(isfinite=lambda _: False))
        with pytest.raises(TrainingError, match=r"lower optim\.lr"):
            fit(bad, tmp_path / "run", name="run")
    assert (tmp_path / "run" / "error.json").exists()
    fit(experiment(optim__lr=0.01), tmp_path / "run", name="run")
    assert not (tmp_path / "run" / "error.json").exists()
    RunFolder(tmp_path / "begun").claim(dump(bad))
    with pytest.raises(UserError, match="other settings"):
        fit(experiment(optim__lr=0.01), tmp_path / "begun", name="begun")


def test_a_line_of_a_log_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However many columns the terminal has that is not there."""
    with following(tmp_path / "run", 1):
        row = {"epoch": 1, **dict.fromkeys(short_names(), 123.456)}
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    (written,) = capsys.readouterr().out.splitlines()
    assert written.startswith("run epoch 1/1  loss 123.5") and len(written) > 100


def test_validation_that_pretraining_never_saw(experiment: Any, tmp_path: Path) -> None:
    last = fit(experiment(data__pretrain_on_validation=False), tmp_path / "run", name="run")
    card = json.loads((tmp_path / "run" / "encoder" / "encoder.json").read_text())
    seen = card["provenance"]["training sequences"]
    everything = fit(experiment(), tmp_path / "all", name="all")
    card = json.loads((tmp_path / "all" / "encoder" / "encoder.json").read_text())
    assert 0 < seen < card["provenance"]["training sequences"]
    assert 0 <= last["knn_val"] <= 1 and everything["step"] > last["step"]


@pytest.mark.ray
def test_two_workers_learn_the_same_weights(
    experiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two Ray Train workers: both report, one encoder is written, its loss goes down."""
    settings = experiment(train__workers=2, train__epochs=4, train__cpus_per_worker=0.5)
    store = settings.data.store
    monkeypatch.chdir(store.parent)  # a relative path means this folder, wherever workers start
    data = settings.data.model_copy(update={"store": Path(store.name)})
    settings = settings.model_copy(update={"data": data})
    last = fit(settings, tmp_path / "run", name="two")
    rows = RunFolder(tmp_path / "run").rows()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert last["loss"] < rows[0]["loss"]
    assert load_encoder(tmp_path / "run" / "encoder").feature_size == 16


def test_the_supervised_reference_reads_no_concepts(experiment: Any, tmp_path: Path) -> None:
    """Same data, budget and files, labels for concepts; the card says so."""
    settings = experiment(
        objective__name="supervised",
        prompts__language="nowhere",
        train__epochs=30,
        train__evaluate_every=30,
        model__dropout=0.0,
    )
    last = fit(settings, tmp_path / "run", name="run")
    rows = RunFolder(tmp_path / "run").rows()
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.2
    assert "alignment" not in last and "loss_skeleton_language" not in last
    card = json.loads((tmp_path / "run" / "encoder" / "encoder.json").read_text())
    assert card["provenance"]["labels used"] is True


def test_the_supervised_reference_needs_classes(
    experiment: Any, demo_store: Store, tmp_path: Path
) -> None:
    """It is told before anything starts, and by the loop as well; other objectives do not care."""
    store = without_classes(demo_store, tmp_path / "some", 21)
    of = {"data__store": str(store.path)}
    for check in (require_data, TrainingSet):
        with pytest.raises(UserError, match=r"objective\.name: .* \d of the \d\d"):
            check(experiment(objective__name="supervised", **of))
        check(experiment(**of))


def partial_table(language: Path, out: Path, missing: int) -> ConceptTable:
    """The table without some of its sequences."""
    whole = ConceptTable.open(language)
    ids, rows = whole.ids[missing:], whole.features[missing:]
    return write_table(out, ids, rows, modality="language", model="test")


def test_too_few_to_pretrain_on(experiment: Any, language: Path, tmp_path: Path) -> None:
    """For the workers, or for a modality's edges: told before anything starts, and by the loop."""
    whole = ConceptTable.open(language)
    for number, modality in ((3, "language"), (1, "vision")):  # all of the training part
        ids, rows = whole.ids[:number], np.array(whole.features[:number])
        write_table(tmp_path / modality, ids, rows, modality=modality, model="test")
    few = {"prompts__language": str(tmp_path / "language"), "prompts__missing": "exclude"}
    one = {
        "prompts__vision": str(tmp_path / "vision"),
        "prompts__missing": "mask",
        "prompts__normalise": "whiten",
        "objective__weights": {"skeleton_language": 1.0, "skeleton_vision": 1.0},
    }
    for check in (require_data, TrainingSet):
        check(experiment(**few, train__workers=2))
        with pytest.raises(UserError, match=r"exclude leaves 3 of 52 .* 4 train\.workers need 4"):
            check(experiment(**few, train__workers=4))
        with pytest.raises(UserError, match=r"prompts\.vision: 1 of the 52"):
            check(experiment(**one))


def test_sequences_without_prompts(experiment: Any, language: Path, tmp_path: Path) -> None:
    """Refused by default; excluded or masked by choice; and a masked run resumes like any other."""
    partial = partial_table(language, tmp_path / "partial", 30)
    with pytest.raises(UserError, match="have no language prompts"):
        TrainingSet(experiment(prompts__language=str(partial.path)))
    settings = experiment(prompts__language=str(partial.path), prompts__missing="exclude")
    source = TrainingSet(settings)
    whole = TrainingSet(experiment())
    absent = set(whole.pretrain) - set(source.pretrain)
    assert len(whole.labels) == len(source.labels) and absent
    assert all(not source.has["language"][row] for row in absent)
    vision = ConceptTable.open(language)
    write_table(
        tmp_path / "v", vision.ids, np.array(vision.features), modality="vision", model="test"
    )
    masked = experiment(
        prompts__language=str(partial.path),
        prompts__vision=str(tmp_path / "v"),
        prompts__missing="mask",
        objective__weights={"skeleton_language": 1.0, "skeleton_vision": 1.0},
    )
    source = TrainingSet(masked)
    assert len(source.pretrain) == len(whole.pretrain)
    batch = source.batch(0)
    assert (batch.concepts["language"].norm(dim=1) > 0).equal(batch.has["language"])
    assert not batch.has["language"].all() and "vision" not in batch.has
    with pytest.raises(Stop):
        fit(masked, tmp_path / "run", name="m", on_report=stop_at(1))
    last = fit(masked, tmp_path / "run", name="m")
    fit(masked, tmp_path / "straight", name="m")
    assert weights(tmp_path / "run") == weights(tmp_path / "straight")
    assert last["alignment_language"] and last["loss_skeleton_language"] > 0
