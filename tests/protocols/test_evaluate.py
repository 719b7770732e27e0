"""The command: rows, counts, tables, what is not done twice, and that the test part stays out."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result

from c2vl.commands.evaluate import evaluate
from c2vl.encoder import load_encoder
from c2vl.encoder.ledger import SCORINGS, scorings
from c2vl.encoder.store_features import store_features
from c2vl.protocols import results
from c2vl.protocols.clustering import clustering
from c2vl.protocols.evaluate import Evaluation
from c2vl.protocols.fewshot import few_shot
from c2vl.protocols.finetune import fine_tune, semi_supervised
from c2vl.protocols.knn import knn
from c2vl.protocols.linear import linear
from c2vl.protocols.published import PUBLISHED, beside
from c2vl.protocols.results import read_folder, read_results
from c2vl.protocols.settings import SemiSupervisedSettings, TrainingSettings
from c2vl.protocols.supervised import supervised_scores
from c2vl.protocols.table import tables
from c2vl.protocols.task import Outcome, Task
from c2vl.protocols.transfer import converted_store
from c2vl.registry import register
from c2vl.skeletons.layout import get_layout
from c2vl.skeletons.store import Store, content_checksum
from c2vl.support import progress
from c2vl.support.errors import UserError
from c2vl.support.ray_session import connected
from c2vl.support.tables import markdown
from c2vl.training import checkpoint
from c2vl.training.device import Precision
from c2vl.training.launch import fit
from c2vl.training.run_folder import RunFolder
from tests.protocols.conftest import random_encoder

SHORT = {"epochs": 2, "batch_size": 16}


def ask(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(evaluate, [str(word) for word in words])
    if code and isinstance(result.exception, UserError):
        return result
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_a_row_says_what_it_stands_on(
    encoder_folder: Path, demo_store: Store, tmp_path: Path
) -> None:
    folder, out = tmp_path / "encoder", tmp_path / "results"
    shutil.copytree(encoder_folder, folder)
    common = (demo_store.path, "--split", "xsub", "--folds", 2, "--out", out)
    assert "validation part" in ask("linear", folder, *common).output
    assert not (folder / SCORINGS).exists()
    first = ask("knn", folder, *common, "--part", "test")
    assert "test scoring number 1 of this encoder" in first.output
    again = ask("knn", folder, *common, "--part", "test")
    assert "is there already" in again.output  # scored once: not read a second time
    assert len((folder / SCORINGS).read_text().splitlines()) == 1
    ask("clustering", folder, *common, "--part", "test")
    rows = read_folder([out])
    by_key = {row.key: row for row in rows}
    assert set(by_key) == {
        *("linear", "linear_sgd", "linear_sgd_best", "knn1", "knn20", "map", "nmi", "ari")
    }
    row = by_key["nmi"]
    assert row.test_scoring == 2 and by_key["linear"].test_scoring == 0
    assert (row.dataset, row.split, row.part) == ("demo (generated)", "demo_xsub", "test")
    assert row.encoder == load_encoder(folder).digest
    assert row.data["checksum"] == demo_store.digest and row.sequences == row.data["test"]
    assert {"python", "torch", "numpy"} <= set(row.versions)
    assert all(r.low <= r.value <= r.high for r in rows if r.metric == "top-1")
    assert by_key["linear_sgd"].value <= by_key["linear_sgd_best"].value

    parquet = tmp_path / "rows.parquet"
    shown = ask("table", out, "--markdown", "--parquet", parquet).output
    assert "### demo (generated), demo_xsub, test part, in %" in shown
    assert len(pd.read_parquet(parquet)) == len(rows)
    assert ask("pictures", folder, demo_store.path, tmp_path / "p", *common[1:]).output
    for name in ("confusion", "classes", "map"):
        assert (tmp_path / "p" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert len((folder / SCORINGS).read_text().splitlines()) == 2


def test_a_reading_is_counted_once_whatever_is_killed(
    task: Task, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tested, digest = replace(task, part="test"), task.encoder.digest
    again = replace(evaluation, again=True)

    def scored(*_: Any) -> list[Outcome]:
        at = tested.split.test
        return [Outcome("knn1", "top-1", "k=1", at, np.ones(len(at)))]

    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    def score(how: Evaluation, *, kill: bool = False) -> int:
        register("protocol", "told", killed if kill else scored)
        with pytest.raises(KeyboardInterrupt) if kill else nullcontext():
            return how.run("told", tested, ledger=tmp_path)[0].test_scoring
        return 0

    score(evaluation, kill=True)
    score(evaluation, kill=True)
    assert scorings(tmp_path, digest) == 1  # before the reading, since a kill cannot be told after
    assert score(evaluation) == score(evaluation) == 1
    score(again, kill=True)
    assert score(again) == scorings(tmp_path, digest) == 2
    # killed when all was written but the work not yet cleared up: asked again it is a new reading
    monkeypatch.setattr("c2vl.protocols.evaluate.shutil.rmtree", lambda *_, **__: None)
    assert score(again) == 3
    monkeypatch.undo()
    assert score(again) == 4
    # a line cut short by a kill was no reading; a file that is no count is not written over
    path = tmp_path / SCORINGS
    path.write_bytes(path.read_bytes() + b'{"encoder": "')
    assert scorings(tmp_path) == 4 and score(again) == 5
    path.write_text("x\n")
    with pytest.raises(UserError, match="no count of test scorings"):
        score(again)
    assert path.read_text() == "x\n"


OWN = """
from pydantic import Field
from c2vl.protocols.settings import ProtocolSettings
from c2vl.protocols.task import Outcome
from c2vl.registry import register

class Settings(ProtocolSettings):
    share: float = Field(0.5, ge=0, le=1, description="Of right answers.")

def own(task, settings):
    at = task.folds[0].scored
    return [Outcome("own", "top-1", "", at, [settings.share] * len(at))]

register("protocol", "own", own, settings=Settings, help="Mine.")
"""


def test_a_protocol_of_a_file_is_a_command(
    encoder_folder: Path, demo_store: Store, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    door = ("--imports", tmp_path / "own.py")
    assert "Of right answers." in ask(*door, "own", "--help").output
    words = (encoder_folder, demo_store.path, "--split", "xsub", "--folds", 2)
    ask(*door, "own", *words, "--share", 0.25, "--out", tmp_path / "r")
    (row,) = read_folder([tmp_path / "r"])
    assert row.value == 0.25 and row.options == {"share": 0.25}
    refused = ask(*door, "own", *words, "--share", 2, code=2)
    assert "--share" in str(refused.exception)


def test_features_are_extracted_once(demo_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = random_encoder(demo_store, seed=5)
    first = store_features(encoder, demo_store)
    monkeypatch.setattr(encoder, "embed_clips", lambda *_: pytest.fail("extracted again"))
    assert np.array_equal(store_features(encoder, demo_store), first)
    monkeypatch.undo()
    direct = encoder.embed([demo_store.joints(at) for at in range(len(demo_store))])
    np.testing.assert_allclose(first, direct, atol=1e-5)
    other = random_encoder(demo_store, seed=6)
    assert not np.allclose(store_features(other, demo_store), first)
    for path in (demo_store.path / "cache").glob("features-*/features.npy"):
        path.write_bytes(path.read_bytes()[:200])  # damaged: it is made again
    assert np.array_equal(store_features(encoder, demo_store), first)


def test_shuffled_test_labels_change_no_selection(
    experiment: Any, demo_store: Store, tmp_path: Path
) -> None:
    """Training, its figures, validation and every choice: bit for bit, with wrong test labels."""
    path = tmp_path / "shuffled"
    shutil.copytree(demo_store.path, path, ignore=shutil.ignore_patterns("features-*"))
    manifest = json.loads((path / "manifest.json").read_text())
    table = path / manifest["data"] / "index.parquet"
    index = pd.read_parquet(table)
    test = Task(random_encoder(demo_store), demo_store, "xsub").split.test
    labels = index["label"].to_numpy().copy()
    labels[test] = np.random.default_rng(0).permutation(labels[test])
    index["label"] = labels
    index.to_parquet(table)
    manifest["checksum"] = content_checksum(index, manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))
    Store.open(path).verify()

    seen = []
    for name, store in (("right", demo_store), ("wrong", Store.open(path))):
        settings = experiment(data__store=str(store.path), train__epochs=2)
        fit(settings, tmp_path / name, name=name)
        timing = {"seconds", "samples_per_second", "data_wait"}
        rows = [
            {key: value for key, value in row.items() if key not in timing}
            for row in RunFolder(tmp_path / name).rows()
        ]
        encoder = load_encoder(tmp_path / name / "encoder")
        task = Task(encoder, store, "xsub", k=2)
        outcomes = [*linear(task), *knn(task), *few_shot(task), *clustering(task)]
        choices = [outcome.chosen for outcome in linear(replace(task, part="test"))]
        test_figures = [outcome.value for outcome in linear(replace(task, part="test"))]
        values = [(outcome.key, outcome.value, outcome.values.tolist()) for outcome in outcomes]
        seen.append((encoder.digest, rows, values, choices, test_figures))
    (*right, right_test), (*wrong, wrong_test) = seen
    assert right == wrong
    assert right_test != wrong_test  # the labels were wrong indeed


def test_fine_tuning_learns_and_continues_after_a_kill(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainingSettings(epochs=30, batch_size=8, checkpoint_every=6)
    train = task.split.train

    def scores(folder: str) -> np.ndarray:
        place = {"scratch": tmp_path / folder, "seed": 0, "settings": settings}
        return supervised_scores(task.encoder, task.store, train, train, **place)

    learnt = scores("a")
    assert (learnt.argmax(1) == task.labels[train]).mean() > 3 / task.classes
    left = [path.name for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert left == ["scores.npy"]  # of a finished training: the protocol may have more to do

    save, saves = checkpoint.save, []

    def cut(*args: Any, **kwargs: Any) -> Path:
        saves.append(kwargs["step"])
        if len(saves) == 4:
            raise KeyboardInterrupt
        return save(*args, **kwargs)

    monkeypatch.setattr(checkpoint, "save", cut)
    with pytest.raises(KeyboardInterrupt):
        scores("b")
    again = scores("b")
    assert saves == [6, 12, 18, 24, 24, 30]
    assert np.array_equal(again, learnt)


def test_everything_obeys_the_number_format(
    task: Task, evaluation: Evaluation, encoder_folder: Path, tmp_path: Path
) -> None:
    half = replace(task, precision=Precision("bf16"))
    apart = np.abs(half.rows - task.rows)
    assert 0 < apart.max() < 0.05 * np.abs(task.rows).max()
    rows = [evaluation.run("few-shot", one, ledger=tmp_path)[0] for one in (task, half, task)]
    assert [row.options for row in rows] == [{}, {"precision": "bf16"}, {}]
    train, found = task.split.train, []
    for form in ("auto", "bf16"):
        settings = TrainingSettings(**SHORT, precision=form)
        place = {"scratch": tmp_path / form, "seed": 0, "settings": settings}
        found.append(supervised_scores(task.encoder, task.store, train, train, **place))
    apart = np.abs(found[0] - found[1])
    assert 0 < apart.max() < 0.1 * np.abs(found[0]).max()
    words = [encoder_folder, task.store.path, "--split", "xsub", "--out", tmp_path]
    asked = ask("few-shot", *words, "--gpus-per-worker", 1, code=2)
    assert "no GPU is visible here" in str(asked.exception) or torch.cuda.is_available()
    assert "a format of GPUs" in str(ask("knn", *words, "--precision", "tf32", code=2).exception)


def test_semi_supervised_draws(
    task: Task,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    tested = replace(task, part="test", work=tmp_path / "w")
    found = semi_supervised(tested, SemiSupervisedSettings(**SHORT, draws=2))
    *_, last = [line for line in capsys.readouterr().err.splitlines() if "training steps" in line]
    assert last.split()[0] == last.split()[2]  # 20 of 20 training steps
    assert [outcome.key for outcome in found] == ["semi1", "semi10"]
    for outcome in found:
        assert outcome.draws == 2 and outcome.spread is not None
        assert set(np.unique(outcome.values)) <= {0.0, 0.5, 1.0}


@pytest.mark.slow
@pytest.mark.ray
def test_two_workers_under_ray_train(task: Task, tmp_path: Path) -> None:
    tested = replace(task, part="test", work=tmp_path / "w")
    settings = TrainingSettings(epochs=20, batch_size=16, workers=2)
    with connected():
        (outcome,) = fine_tune(tested, settings)
    assert len(outcome.values) == len(tested.split.test)
    assert outcome.value > 1 / task.classes


def test_every_protocol_from_one_call(demo_store: Store, tmp_path: Path) -> None:
    """Three streams, two seeds where it is cheap: rows of a table with deviations and baselines."""
    said: list[str] = []
    values = {**SHORT, "epochs": 1, "draws": 1}
    evaluation = Evaluation(tmp_path / "r", values, say=said.append)
    encoders = [(random_encoder(demo_store, s), tmp_path) for s in ("joint", "bone", "motion")]
    task = lambda encoder: Task(encoder, demo_store, "xsub", "test", k=2)  # noqa: E731
    few = evaluation.all(encoders, task, only=["knn", "raw-neighbours"])
    assert {row.key for row in few} == {"knn1", "knn20", "map"}
    assert "5 runs of protocols" in said[0] and "--only with some of knn, raw-ne" in said[1]
    said.clear()
    rows = evaluation.all(encoders, task)
    cost = next(line for line in said if line.startswith("all:"))
    assert re.search(r"all: 1\d runs of protocols, about .+ for networks by 2 timed steps", cost)
    keys = {row.key for row in rows if "@" not in row.key}
    assert {"linear", "knn20", "map", "nmi", "fewshot5", "semi10", "finetune", "ensemble"} <= keys
    assert any("keeps no map; left out" in line for line in said)
    ((title, lines),) = tables(rows)
    assert [line[""] for line in lines] == [
        *("C²VL, joint", "C²VL, bone", "C²VL, motion", "C²VL, 3 streams"),
        *("random encoder", "supervised from scratch", "raw joints"),
    ]
    assert lines[5]["fine-tune"] != "–" and lines[6]["1-NN"] != "–" and "fine-tune" in lines[0]
    assert all(-1 <= row.low <= row.value <= row.high <= 1 for row in rows)  # of all protocols
    assert "in %" in title and markdown(lines).count("\n|") == len(lines) + 1
    left = {path.suffix for path in (tmp_path / "r/.unfinished").iterdir()}
    assert left == {".lock"}
    said.clear()
    assert evaluation.all(encoders, task) == rows
    assert all("is there already" in line or "left out" in line for line in said)


def test_transfer_between_layouts(demo_store: Store, encoder_folder: Path, tmp_path: Path) -> None:
    """The NTU encoder on Kinect v1's joints: converted once, judged like any store."""
    kinect = converted_store(demo_store, get_layout("kinect20"))
    assert kinect.layout.name == "kinect20" and kinect.joints(0).shape[2] == 20
    kinect.verify()
    assert converted_store(demo_store, demo_store.layout) is demo_store
    folder, out = tmp_path / "encoder", tmp_path / "results"
    shutil.copytree(encoder_folder, folder)
    words = ("--split", "xsub", "--folds", 2, "--out", out, "--epochs", 1, "--part", "test")
    shown = ask("transfer", folder, kinect.path, *words).output
    assert "fine-tune" in shown
    assert all(0 <= row.low <= row.value <= row.high <= 1 for row in read_folder([out]))
    (table,) = tables(read_folder([out]))
    assert table[0].startswith("transfer from demo (generated) to demo (generated)")
    refused = ask("linear", folder, kinect.path, *words[:6], code=2)
    assert "c2vl evaluate transfer" in str(refused.exception)


def test_published_figures_stand_beside(
    encoder_folder: Path, demo_store: Store, tmp_path: Path
) -> None:
    figures = {method: figure for method, _, figure in beside("xsub60", "linear")}
    assert figures["C²VL (the paper)"] == 84.4 and figures["AimCLR"] == 74.3
    assert {m: f for m, _, f in beside("xset120", "ensemble")}["ActCLR"] == 75.7
    assert beside("utd_xsub", "linear") == [] and len(PUBLISHED) == 13
    words = (demo_store.path, "--split", "xsub", "--folds", 2, "--out", tmp_path / "r")
    ask("linear", encoder_folder, *words)
    plain = next(row for row in read_folder([tmp_path / "r"]) if row.key == "linear")
    rows = [
        replace(plain, value=value, encoder=str(value), split="xsub60", encoder_seed=seed)
        for seed, value in enumerate((0.8, 0.9))
    ]
    ((_, lines),) = tables(rows)
    assert lines[0]["linear"] == "85.0 ± 7.1"
    assert {
        "": "C²VL (the paper) (Chen et al., arXiv 2405.20606, IEEE TMM 2025)",
        "seeds": "",
        "linear": "84.4",
    } in lines


def test_a_table_pools_seeds_of_one_experiment_alone(
    encoder_folder: Path, demo_store: Store, tmp_path: Path
) -> None:
    words = (demo_store.path, "--split", "xsub", "--folds", 2, "--out", tmp_path / "r")
    ask("linear", encoder_folder, *words)
    row = next(row for row in read_folder([tmp_path / "r"]) if row.key == "linear")

    def scored(temperature: float, seed: int, encoder: str, **changes: Any) -> results.Result:
        experiment = {**row.experiment, "objective.temperature": temperature}
        changes = {"who": "C²VL", "encoder_seed": seed, "encoder": encoder, **changes}
        return replace(row, experiment=experiment, **changes)

    def told(*rows: results.Result) -> list[tuple[str, str]]:
        ((_, lines),) = tables(rows)
        return [(line[""], line["seeds"]) for line in lines]

    ours = [scored(0.1, 0, "a"), scored(0.1, 1, "b")]
    assert told(*ours) == [("C²VL", "2")]
    assert told(*ours, scored(0.2, 0, "c")) == [
        ("C²VL (objective.temperature=0.1)", "2"),
        ("C²VL (objective.temperature=0.2)", "1"),
    ]
    assert told(*ours, scored(0.1, 0, "d")) == [
        ("C²VL (encoder a)", "2"),
        ("C²VL (encoder d)", "1"),
    ]
    other = {**row.options, "folds": 3}
    again = told(ours[0], scored(0.1, 0, "a", options=other))
    assert again[1] == ("C²VL (linear folds=3)", "1")
    assert told(replace(ours[0], key="mine")) == [("C²VL", "1")]  # of a protocol of one's own


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["linear", "nowhere", "STORE", "--split", "xsub"], "nowhere"),
        (["linear", "ENCODER", "nowhere", "--split", "xsub"], "no prepared store here"),
        (["linear", "ENCODER", "STORE", "--split", "xsubb"], 'did you mean "xsub"'),
        (["linear", "ENCODER", "STORE", "--split", "xsub", "--folds", "9"], "9 folds need as many"),
        (["fine-tune", "ENCODER", "STORE", "--split", "xsub", "--epochs", "0"], "--epochs"),
        (["zero-shot", "ENCODER", "STORE", "--split", "xsub", "--folds", "2"], "--map fitted"),
        (["all", "ENCODER", "STORE", "--split", "xsub", "--label", "x"], "--label"),
        (["table", "EMPTY"], "no results here"),
        (["table", "BROKEN"], "no results of"),
    ],
)
def test_mistakes_end_in_one_message(
    words: list[str], message: str, encoder_folder: Path, demo_store: Store, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "linear.json").write_text('{"format": 1, "results": [{"a": 1}]}')
    places = {
        "ENCODER": encoder_folder,
        "STORE": demo_store.path,
        "EMPTY": tmp_path / "empty",
        "BROKEN": tmp_path / "broken",
    }
    done = ask(*[places.get(word, word) for word in words], code=2)
    assert isinstance(done.exception, UserError), done.output
    assert message in str(done.exception)
    with pytest.raises(UserError):
        read_results(tmp_path / "nothing.json")
