"""Wrong pairs on purpose, and how well the filter finds them, on the generated set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from c2vl.commands.prompts import prompts
from c2vl.prompts import noise
from c2vl.prompts.noise import Fit, corrupt, fit, keep_fitting, soften
from c2vl.prompts.table import ConceptTable
from c2vl.prompts.table_writing import write_table
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError


@pytest.fixture
def table(demo_store: Store, tmp_path: Path) -> ConceptTable:
    """Four prompts a sequence, a projection of its joints with noise: like motion, like prompt."""
    draw = np.random.default_rng(0)
    clips = load_clips(demo_store, frames=16, centre=True, align=True)
    rows = clips.dense(np.arange(len(demo_store.index))).reshape(len(demo_store.index), -1)
    rows = (rows - rows.mean(0)) @ draw.normal(size=(rows.shape[1], 16))
    features = rows[:, None] + 0.05 * rows.std() * draw.normal(size=(len(rows), 4, 16))
    ids = [str(name) for name in demo_store.index["id"]]
    texts = [[f"{name} {part}" for part in range(4)] for name in ids]
    unit = (features / np.linalg.norm(features, axis=2, keepdims=True)).astype(np.float32)
    how = {"modality": "language", "model": "m@1", "texts": texts}
    return write_table(tmp_path / "table", ids, unit, **how)


def test_noise_is_recorded_and_one_seed_chooses_the_same_rows(
    table: ConceptTable, tmp_path: Path
) -> None:
    how = {"share": 0.4, "seed": 3}
    made = {
        kind: corrupt(table, tmp_path / kind, kind=kind, **how)  # type: ignore[arg-type]
        for kind in ("swapped", "generic", "dropped", "frames")
    }
    rows = {kind: one.manifest["settings"]["corrupted"]["rows"] for kind, one in made.items()}
    assert len({tuple(one) for one in rows.values()}) == 1
    wrong = set(rows["swapped"])
    assert len(wrong) == round(0.4 * len(table.ids))
    assert set(table.ids) - set(made["dropped"].ids) == wrong
    for name in table.ids:
        changed = {
            kind: [not text.startswith(f"{name} ") for text in made[kind].texts(name)["text"]]
            for kind in ("swapped", "frames")
        }
        assert changed["swapped"] == [name in wrong] * 4
        assert changed["frames"] == [False, name in wrong, False, name in wrong]
        source = made["swapped"].texts(name)["text"][0].split()[0]
        same = made["swapped"].join([name]) == table.join([source])
        assert same.all(), "features move with the texts"
    few = set(made["generic"].texts().query("id in @wrong")["text"])
    assert len(few) == 4
    with pytest.raises(UserError, match="corrupted already"):
        corrupt(made["swapped"], tmp_path / "x", kind="generic", share=0.4, seed=4)
    first = table.features[:, :1].astype(np.float32)
    one = write_table(tmp_path / "one", table.ids, first, modality="language", model="m")
    with pytest.raises(UserError, match="--kind frames"):
        corrupt(one, tmp_path / "x", kind="frames", share=0.4, seed=0)
    with pytest.raises(UserError, match="--share"):
        corrupt(table, tmp_path / "x", kind="dropped", share=1.0, seed=0)


def test_softening_moves_a_pair_to_its_believed_neighbours(
    table: ConceptTable, tmp_path: Path
) -> None:
    ids, own = table.ids[:5], table.join(table.ids[:5]).astype(np.float32)
    near = np.array([[1, 2], [0, 2], [0, 1], [4, 1], [3, 0]])
    wrong = np.array([0, 0.25, 1, 1, 1])
    made = soften(table, tmp_path / "soft", Fit(ids, near, wrong, wrong, 0.5, None))
    expected = own.copy()
    expected[1] = 0.75 * own[1] + 0.25 * own[0]  # its other neighbour is not believed
    expected[2] = (own[0] + 0.75 * own[1]) / 1.75
    expected[3] = own[1]
    expected[4] = own[0]
    np.testing.assert_allclose(made.join(ids), expected, atol=2e-3)
    rest = table.ids[5:]
    assert np.array_equal(made.join(rest), table.join(rest)) and made.ids == table.ids
    nobody = Fit(ids, near, wrong, np.ones(5), 1.0, None)
    for make in (soften, keep_fitting):
        with pytest.raises(UserError, match="no training pair would be left"):
            make(table, tmp_path / "none", nobody)
    few = Fit(ids, near, wrong, np.array([1, 1, 1, 0, 0.9]), 0.8, None)
    moved = soften(table, tmp_path / "few", few)
    expected = (own[1] + own[2]) / 2  # nobody believes them, nor the pair itself
    np.testing.assert_allclose(moved.join(ids)[0], expected, atol=2e-3)


def test_the_filter_finds_wrong_pairs(
    demo_store: Store, table: ConceptTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "NEIGHBOURS", 3)  # the training part has four of each class
    spoilt = corrupt(table, tmp_path / "spoilt", kind="swapped", share=0.4, seed=0)
    found = fit(demo_store, spoilt)
    assert found.auc is not None and found.auc > 0.7
    assert fit(demo_store, table).auc is None
    kept = keep_fitting(spoilt, tmp_path / "kept", found)
    wrong = set(spoilt.manifest["settings"]["corrupted"]["rows"])
    judged = set(found.ids)
    assert set(spoilt.ids) - judged <= set(kept.ids), "only training pairs are judged"
    share = [
        len(wrong & judged & set(one.ids)) / len(judged & set(one.ids)) for one in (spoilt, kept)
    ]
    assert share[1] < share[0] / 2
    store, out = str(demo_store.path), str(tmp_path / "by command")
    run = CliRunner().invoke(prompts, ["filter", store, str(spoilt.path), out])
    assert ConceptTable.open(out).digest == kept.digest, run.output
    softened = soften(spoilt, tmp_path / "softened", found)
    out = str(tmp_path / "softened by command")
    command = ["filter", store, str(spoilt.path), out, "--doubtful", "soften"]
    run = CliRunner().invoke(prompts, command)
    assert ConceptTable.open(out).digest == softened.digest, run.output
    out = str(tmp_path / "averaged")
    run = CliRunner().invoke(prompts, [*command, "--average"])
    assert isinstance(run.exception, UserError) and "give one of the two" in str(run.exception)
    run = CliRunner().invoke(prompts, ["filter", store, str(table.path), out, "--average"])
    averaged = ConceptTable.open(out)
    assert run.exit_code == 0 and averaged.ids == table.ids
    places = demo_store.index["id"].tolist()
    near = noise._nearest(demo_store, np.array([places.index(one) for one in found.ids]))
    mean = table.join([found.ids[place] for place in near[0]]).astype(np.float32).mean(0)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(averaged.join(found.ids[:1])[0], mean, atol=2e-3)
    rest = sorted(set(table.ids) - judged)
    assert np.array_equal(averaged.join(rest), table.join(rest)), "only training prompts change"
    told = CliRunner().invoke(prompts, ["check", str(spoilt.path), store])
    assert f"wrong pairs: about {found.share:.0%}" in told.output and "AUC" in told.output
