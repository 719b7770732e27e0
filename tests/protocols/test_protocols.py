"""Each protocol against an answer that is known beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from c2vl.encoder.card import describe
from c2vl.encoder.concepts import ConceptSpace
from c2vl.probes.linear import fit_chosen
from c2vl.prompts.table_writing import write_table
from c2vl.protocols import zeroshot
from c2vl.protocols.clustering import clustering
from c2vl.protocols.descriptions import read_texts
from c2vl.protocols.fewshot import few_shot
from c2vl.protocols.finetune import labelled
from c2vl.protocols.knn import raw_neighbours
from c2vl.protocols.linear import linear
from c2vl.protocols.references import raw_joints
from c2vl.protocols.results import interval, to_results
from c2vl.protocols.retrieval import ranks, retrieval
from c2vl.protocols.robustness import CURVES, robustness
from c2vl.protocols.settings import RetrievalSettings, ZeroShotSettings
from c2vl.protocols.table import tables
from c2vl.protocols.task import Outcome, Task
from c2vl.protocols.three_streams import WEIGHTS, ensemble
from c2vl.protocols.zeroshot import class_texts, zero_shot
from c2vl.skeletons.layout import get_layout
from c2vl.skeletons.preprocess import preprocess
from c2vl.support.errors import UserError
from c2vl.support.tables import MEDIAN_RANK

SCORES = ("NMI", "ARI")
WithRows = Callable[..., Task]


def corners(task: Task, noise: float = 0.0) -> np.ndarray:
    """Features that tell every class: its own axis, with noise."""
    draw = np.random.default_rng(0)
    rows = np.eye(task.classes)[task.labels]
    return rows + noise * draw.normal(size=rows.shape)


def test_features_that_tell_all_score_all(task: Task, with_rows: WithRows) -> None:
    for part in ("validation", "test"):
        perfect = with_rows(corners(task), part=part)
        outcomes = [*linear(perfect), *few_shot(perfect)]
        assert all(outcome.value == 1 for outcome in outcomes)
        assert {outcome.spread for outcome in few_shot(perfect)} == {0.0}
        for outcome in clustering(perfect):
            nobody = np.full(len(outcome.positions), -1)
            assert interval(outcome, nobody, 0)[0] == pytest.approx(1)
        scored = np.sort(outcomes[0].positions)
        wanted = perfect.split.test if part == "test" else perfect.split.train
        assert np.array_equal(scored, wanted)


def test_more_shots_are_better(task: Task, with_rows: WithRows) -> None:
    noisy = with_rows(corners(task, 0.6))
    one, five = few_shot(noisy)
    assert 1 / task.classes < one.value < five.value < 1
    assert one.spread is not None and one.spread > 0


def test_labels_are_drawn_by_class() -> None:
    labels = np.repeat([0, 1, 2], [100, 30, 4])
    chosen = labelled(labels, 0.1, np.random.default_rng(0))
    assert np.bincount(labels[chosen]).tolist() == [10, 3, 1]
    assert len(np.unique(chosen)) == len(chosen)


def test_the_ensemble_is_a_weighted_sum(task: Task, with_rows: WithRows) -> None:
    tasks = {
        stream: with_rows(corners(task, 0.2 + 0.3 * number), part="test")
        for number, stream in enumerate(WEIGHTS)
    }
    (outcome,) = ensemble(tasks)
    (one,) = tasks["joint"].folds
    total: Any = 0
    for stream, weight in WEIGHTS.items():
        known = tasks[stream].known(one.fit)
        probe, _ = fit_chosen(*known, one.inner, classes=task.classes)
        scores = torch.from_numpy(probe.scores(tasks[stream].rows[one.scored]))
        total = total + weight * torch.log_softmax(scores, 1).numpy()
    expected = (total.argmax(1) == task.labels[one.scored]).mean()
    assert outcome.value == pytest.approx(expected)
    with pytest.raises(UserError, match="one encoder each of joint, bone, motion"):
        ensemble({"joint": tasks["joint"]})


def test_the_interval_of_a_share() -> None:
    """Over sequences it is the binomial one; over subjects who are all alike it is wider."""
    values = np.r_[np.ones(60), np.zeros(40)]
    outcome = Outcome("k", "top-1", "", np.arange(100), values)
    value, low, high, over = interval(outcome, np.full(100, -1), 0)
    deviation = 1.96 * np.sqrt(0.6 * 0.4 / 100)
    assert (value, over) == (0.6, "sequences")
    assert low == pytest.approx(0.6 - deviation, abs=0.02)
    assert high == pytest.approx(0.6 + deviation, abs=0.02)
    subjects = np.arange(100) // 10
    _, wide_low, wide_high, over = interval(outcome, subjects, 0)
    assert over == "subjects" and wide_low < low and wide_high > high
    assert interval(outcome, subjects, 0) == interval(outcome, subjects, 0)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**16), st.integers(2, 80), st.integers(1, 7), st.booleans())
def test_every_interval_holds_its_figure(seed: int, size: int, people: int, few: bool) -> None:
    draw = np.random.default_rng(seed)
    subjects = draw.integers(0, people, size) - few
    labels = draw.integers(0, 4, size)
    clusters = np.where(draw.random(size) < 0.4, labels, draw.integers(0, 4, size))
    at = np.arange(size)
    share = Outcome("linear", "top-1", "", at, (labels == clusters).astype(float))
    weighted = replace(share, weights=1 / (1.0 + draw.integers(0, 3, size)))
    kinds = [Outcome("x", name, "", at, labels.astype(float), clusters=clusters) for name in SCORES]
    rank = Outcome("medr", MEDIAN_RANK, "", at, draw.integers(1, 9, size).astype(float))
    for outcome in (share, weighted, rank, *kinds):
        holds(outcome, subjects, seed)


def holds(outcome: Outcome, subjects: np.ndarray, seed: int = 0) -> None:
    """Its interval holds the figure, within what the figure can be."""
    value, low, high, _ = interval(outcome, subjects, seed)
    least = {"ARI": -1.0, MEDIAN_RANK: 1.0}.get(outcome.metric, 0.0)
    most = float(outcome.values.max()) if outcome.metric == MEDIAN_RANK else 1.0
    assert least <= low <= value <= high <= most, (outcome.key, low, value, high)


def test_spoiling_does_what_it_says() -> None:
    layout = get_layout("ntu25")
    draw = lambda: np.random.default_rng(0)  # noqa: E731
    x = np.random.default_rng(1).normal(size=(2, 30, 25, 3)).astype(np.float32)
    x[1, :10] = 0
    spoil = {name: curve.spoil for name, curve in CURVES.items()}
    clean = preprocess(x, layout, frames=16)
    turned = preprocess(spoil["turned view"](x, 60.0, draw(), layout), layout, frames=16)
    np.testing.assert_allclose(turned, clean, atol=1e-4)  # alignment undoes it
    tilted = spoil["tilted view"](x, 30.0, draw(), layout)
    np.testing.assert_allclose(
        np.linalg.norm(tilted, axis=-1), np.linalg.norm(x, axis=-1), atol=1e-5
    )
    assert spoil["shorter clip"](x, 0.5, draw(), layout).shape[1] == 15
    lost = spoil["missing joints"](x, 0.5, draw(), layout)
    gone = (lost == x[:, :, [layout.centre]]).all(axis=(0, 1, 3))
    assert 5 < gone.sum() < 20 and (lost[:, :, ~gone] == x[:, :, ~gone]).all()
    noisy = spoil["noise"](x, 0.05, draw(), layout)
    assert noisy[0].std() > x[0].std() and not noisy[1, :10].any()
    assert (noisy - x)[0].std() == pytest.approx(0.05, rel=0.1)


def test_robustness_starts_at_the_clean_figure(task: Task) -> None:
    found = {outcome.key: outcome.value for outcome in robustness(task)}
    starts = [found[f"{name.replace(' ', '_')}@{c.levels[0]:g}"] for name, c in CURVES.items()]
    assert len(set(starts)) == 1
    assert found["noise@0.1"] <= starts[0] + 1e-9
    assert found["turned_view@60"] == pytest.approx(starts[0], abs=0.05)
    assert len(found) == sum(len(curve.levels) for curve in CURVES.values())


class Words:
    """Stands for the text encoder: a class is the last word, a template adds the same to all."""

    def encode(self, texts: list[str]) -> np.ndarray:
        rows = np.zeros((len(texts), 40), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[int(text.split()[-1])] = 1
            row[-1] = 3
        return rows


def test_zero_shot_goes_through_the_concept_space(
    task: Task, with_rows: WithRows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A head that undoes a rotation of the features finds every class, and labels are not read."""
    monkeypatch.setattr(zeroshot, "text_encoder_of", lambda _: Words())
    names = task.store.class_names
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(40, 40)))[0].astype(np.float32)
    rows = np.zeros((len(task.labels), 40), np.float32)
    rows[np.arange(len(rows)), task.labels] = 1
    one = with_rows(rows @ rotation.T, part="test")
    maps = torch.from_numpy(np.ascontiguousarray(rotation.T)), torch.zeros(40)
    space = ConceptSpace(maps, (torch.eye(40), torch.zeros(40)), "words@1")
    one.encoder.concepts["language"] = space
    values = []
    for shift in (0, 1):
        texts = {name: f"it is {(n + shift) % len(names)}" for n, name in enumerate(names)}
        (tmp_path / "texts.yaml").write_text(json.dumps(texts))
        described = ZeroShotSettings(texts=tmp_path / "texts.yaml")
        values.append(zero_shot(one, described)[0].value)
    assert values == [1.0, 0.0]
    one.encoder.concepts.clear()
    with pytest.raises(UserError, match="--map fitted --concepts"):
        zero_shot(one, described)


def test_ranks_of_retrieval_in_closed_form() -> None:
    similar = np.array([[0.9, 0.9, 0.1], [0.5, 0.2, 0.3], [0.1, 0.2, 0.3]], np.float32)
    eye = np.eye(3, dtype=np.float32)
    assert ranks(similar, eye).tolist() == [1.5, 3, 1]  # equal ones share the mean of their ranks
    assert ranks(similar.T, eye).tolist() == [1, 2.5, 1.5]
    alike = np.array([[1, 0], [0, 1], [0.1, 0.995]], np.float32)
    assert ranks(similar, eye, alike, 0.9).tolist() == [1.5, 2, 1]  # texts 1 and 2 are nearly equal
    same = ranks(eye, np.ones_like(eye), alike, 0.9)  # all are equal: of two right ones the first
    assert same == pytest.approx([2, 4 / 3, 4 / 3])


def test_chance_is_what_random_features_score(
    task: Task, with_rows: WithRows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(zeroshot, "text_encoder_of", lambda _: Words())
    draw, ids = np.random.default_rng(0), list(task.store.index["id"])
    captions = np.eye(40, dtype=np.float32)[draw.integers(0, 12, len(ids))][:, None]
    table, space = tmp_path / "language", (torch.eye(40), torch.zeros(40))
    texts = [["a"] for _ in ids]
    write_table(table, ids, captions, modality="language", model="words@1", texts=texts)
    (tmp_path / "texts.yaml").write_text(
        json.dumps({name: f"it is {n}" for n, name in enumerate(task.store.class_names)})
    )
    values: dict[str, list[float]] = {}
    chances: dict[str, list[float]] = {}
    for times in range(40):
        one = with_rows(draw.normal(size=(len(ids), 40)), part="test")
        one.encoder.concepts["language"] = ConceptSpace(space, space, "words@1")
        outcomes = [
            *retrieval(one, RetrievalSettings(concepts=table)),
            *zero_shot(one, ZeroShotSettings(texts=tmp_path / "texts.yaml")),
        ]
        for outcome in outcomes:
            if not times:
                holds(outcome, one.store.index["subject"].to_numpy(np.int64)[outcome.positions])
            assert outcome.chance is not None
            values.setdefault(outcome.key, []).append(outcome.value)
            chances.setdefault(outcome.key, []).append(outcome.chance)
    chance = {key: float(np.mean(found)) for key, found in chances.items()}
    assert chance["zeroshot"] == pytest.approx(1 / 13)
    assert chance["t2m_near_r1"] > 2 * chance["t2m_r1"] and chance["t2m_medr"] > 20
    for key, each in chance.items():
        width = 0.2 * each if key.endswith("medr") else 0.04
        assert np.mean(values[key]) == pytest.approx(each, abs=width), key
    rows = to_results("both", one, outcomes, who="random", options={}, test_scoring=1)
    ((_, (line, guess)),) = tables(rows)  # each table has a line of it
    assert (line[""], guess[""], guess["zero-shot"]) == ("random", "chance", "7.7")
    assert guess["t2m_medr (rank)"] == f"{chance['t2m_medr']:.1f}"  # a rank is not in %
    card = {**one.encoder.card, "weights_sha256": "0", "architecture": {}, "feature_size": 40}
    text = describe({**card, "results": [asdict(row) for row in rows]})
    assert " | 7.7 % |" in text and f" | {chance['t2m_medr']:.1f} |" in text


def test_retrieval_of_pairs_that_fit(task: Task, with_rows: WithRows, tmp_path: Path) -> None:
    """Features that are a rotation of their captions are found; shuffled ones are not."""
    draw = np.random.default_rng(0)
    ids = list(task.store.index["id"])
    captions = draw.normal(size=(len(ids), 2, 8)).astype(np.float32)
    texts = [["a", "b"] for _ in ids]
    table = tmp_path / "language"
    write_table(table, ids, captions, modality="language", model="words@1", texts=texts)
    rotation = np.linalg.qr(draw.normal(size=(8, 8)))[0].astype(np.float32)
    maps = torch.from_numpy(np.ascontiguousarray(rotation.T)), torch.zeros(8)
    settings = RetrievalSettings(concepts=table)
    for fits in (True, False):
        rows = captions[:, 0] if fits else captions[draw.permutation(len(ids)), 0]
        one = with_rows(rows @ rotation.T, part="test")
        space = ConceptSpace(maps, (torch.eye(8), torch.zeros(8)), "words@1")
        one.encoder.concepts["language"] = space
        found = {outcome.key: outcome for outcome in retrieval(one, settings)}
        assert len(found) == 24
        assert (found["t2m_r1"].value == found["m2t_medr"].value == 1.0) == fits
        assert (found["t2m_batch_medr"].value < 3) == fits
        assert len(found["t2m_batch_r1"].positions) == len(one.split.test) // 32 * 32
    value, low, high, _ = interval(found["t2m_medr"], np.full(len(one.split.test), -1), 0)
    assert low < value < high and value == np.median(found["t2m_medr"].values)
    one.encoder.concepts["language"] = ConceptSpace(maps, space.concept, "other@1")
    with pytest.raises(UserError, match="made with words@1, and the map with other@1"):
        retrieval(one, settings)
    with pytest.raises(UserError, match="--concepts TABLE"):
        retrieval(one, RetrievalSettings())


def test_class_texts_are_checked(tmp_path: Path) -> None:
    names = ["wave", "clap"]
    assert class_texts(names, None)[1][0] == "clap"
    with pytest.raises(UserError, match='did you mean "wave"'):
        class_texts(names, {"wav": ["x"], "clap": ["y"]})
    with pytest.raises(UserError, match="no description of clap"):
        class_texts(names, {"wave": ["x"]})
    path = tmp_path / "texts.yaml"
    for text in ("- a", "wave: 3", "wave: [1]", "a: [", "wave: ''"):
        path.write_text(text)
        with pytest.raises(UserError, match=str(path)):
            read_texts(path)
    path.write_text("wave: one\nclap: [two, three]")
    assert read_texts(path) == {"wave": ["one"], "clap": ["two", "three"]}
    assert read_texts(Path("c2vl/presets/descriptions/utd_mhad.yaml")).keys() >= {"wave", "squat"}


def test_raw_neighbours_of_one_round(task: Task) -> None:
    tested = replace(task, part="test")
    outcomes = {outcome.key: outcome.value for outcome in raw_neighbours(tested)}
    plain = raw_joints(task.store, "xsub", **task.encoder.card["preprocessing"])
    assert {key: outcomes[key] for key in plain} == pytest.approx(plain)


def test_another_layout_is_refused(task: Task) -> None:
    other = task.encoder
    other.layout = get_layout("kinect20")
    with pytest.raises(UserError, match=r"ntu25 layout \(25 joints\).*expects kinect20"):
        _ = Task(other, task.store, "xsub").rows
