# ruff: noqa: E501, RUF043
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from c2vl.commands.prompts import prompts
from c2vl.prompts import probe
from c2vl.prompts.encoders.feature_cache import FeatureCache
from c2vl.prompts.probe import probe_table
from c2vl.prompts.rules.kinematic_table import build
from c2vl.prompts.rules.sentences import PARTNER, SENTENCES
from c2vl.prompts.table import ConceptTable
from c2vl.prompts.table_writing import write_table
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from c2vl.support.progress import Progress
from tests.small import without_classes


class Letters:
    """An encoder double: counts letters, and remembers what it was asked."""

    identity = "letters@1"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def too_long(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([len(text) > 50 for text in texts])

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        self.asked += texts
        rows = np.array([[text.count(letter) + 1 for letter in "abcdefgh"] for text in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def features(cache: Path, encoder: Letters, texts: list[str]) -> np.ndarray:
    return FeatureCache(cache, encoder.identity).features(texts, encoder)


def test_a_cached_text_is_not_encoded_again(tmp_path: Path) -> None:
    first, again = Letters(), Letters()
    rows = features(tmp_path, first, ["abc", "bad", "abc", "a" * 60])
    assert first.asked == ["abc", "bad", "a" * 60]
    cache = FeatureCache(tmp_path, again.identity)
    assert cache.long(["a" * 60, "abc"]) == 1
    assert cache.missing(["new", "abc", "new"]) == ["new"]
    more = cache.features(["a" * 60, "abc", "new"], again)
    assert again.asked == ["new"]
    np.testing.assert_array_equal(more[:2], rows[[3, 0]])


def test_encoders_do_not_share_features(tmp_path: Path) -> None:
    features(tmp_path, Letters(), ["abc"])
    other = Letters()
    other.identity = "letters@2"
    features(tmp_path, other, ["abc"])
    assert other.asked == ["abc"]


@pytest.mark.parametrize("part", ["keys", "features"])
@pytest.mark.parametrize("keep", [0, 10, 129, None])
def test_a_damaged_shard_is_made_again(tmp_path: Path, keep: int | None, part: str) -> None:
    """Cut short or, with None, filled with zeros as after a loss of power."""
    rows = features(tmp_path, Letters(), ["abc", "bad"])
    (shard,) = tmp_path.rglob(f"shard-*.{part}.npy")
    data = shard.read_bytes()
    shard.write_bytes(data[:keep] if keep is not None else data[:128] + bytes(len(data) - 128))
    again = Letters()
    found = features(tmp_path, again, ["abc", "bad"])
    assert again.asked == ["abc", "bad"]
    np.testing.assert_array_equal(found, rows)
    assert not list(tmp_path.rglob(".tmp-*"))


def _table(path: Path, **changes: object) -> ConceptTable:
    values: dict[str, object] = {
        "ids": ["a", "b", "c"],
        "features": np.arange(1, 25, dtype=np.float32).reshape(3, 2, 4),
        "modality": "language",
        "model": "letters@1",
        "texts": [["one", "two"], ["three", "four"], ["five", "six"]],
    }
    return write_table(path, **(values | changes))  # type: ignore[arg-type]


def test_round_trip(tmp_path: Path) -> None:
    written = _table(tmp_path / "t", store="digest", settings={"windows": 2})
    table = ConceptTable.open(tmp_path / "t", modality="language")
    assert table.ids == ["a", "b", "c"]
    assert (table.prompts_per_sample, table.dim) == (2, 4)
    assert table.digest == written.digest
    assert table.manifest["store"] == "digest"
    rows = table.join(["c", "a"])
    assert rows.dtype == np.float32 and rows.shape == (2, 2, 4)
    np.testing.assert_array_equal(rows, table.features[[2, 0]])
    assert table.texts("b")["text"].tolist() == ["three", "four"]
    with pytest.raises(UserError, match=r"2 of 3 .* language prompts \(x, y\)"):
        table.join(["x", "a", "y"])


def test_an_existing_table_is_kept_unless_told(tmp_path: Path) -> None:
    _table(tmp_path / "t")
    with pytest.raises(UserError, match="--overwrite"):
        _table(tmp_path / "t")
    _table(tmp_path / "t", ids=["d", "e", "f"], overwrite=True)
    assert ConceptTable.open(tmp_path / "t").ids == ["d", "e", "f"]
    assert [path.name for path in tmp_path.iterdir()] == ["t"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(UserError, match="not a concept table"):
        _table(tmp_path / "other", overwrite=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": ["a", "a", "b"]}, "2 distinct"),
        ({"features": np.zeros((3, 2, 4), np.float32)}, "zero or not finite"),
        ({"features": np.full((3, 2, 4), np.nan)}, "zero or not finite"),
        ({"features": np.ones((3, 4))}, "expected floats"),
        ({"texts": [["one"], ["two"], ["three"]]}, "2 prompts"),
        ({"modality": "sound"}, "modality"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        _table(tmp_path / "t", **changes)
    assert not list(tmp_path.iterdir())


def test_a_damaged_manifest_is_one_message(tmp_path: Path) -> None:
    path = _table(tmp_path / "t").path / "manifest.json"
    whole = json.loads(path.read_text())
    for bad in ({"counts": {"sequences": 3}}, {"settings": None}, {"model": 1}, {"digest": ...}):
        changed = {k: v for k, v in (whole | bad).items() if v is not ...}
        path.write_text(json.dumps(changed))
        with pytest.raises(UserError, match=f"manifest.json: damaged, without {min(bad)}"):
            ConceptTable.open(tmp_path / "t")


@pytest.mark.parametrize("length", [1e-9, 1e6])
def test_a_later_part_of_another_length_is_refused(tmp_path: Path, length: float) -> None:
    """Half precision is chosen by the first part, and would make it zeros, or infinite."""
    rows = np.eye(3, dtype=np.float32)[:, None]
    with pytest.raises(UserError, match="long, and the first ones are about 1"):
        _table(tmp_path / "t", features=iter([rows[:2], rows[2:] * length]), texts=None)
    assert not (tmp_path / "t").exists()


def test_a_failed_write_leaves_the_old_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _table(tmp_path / "t")

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(UserError, match=r"t: cannot be written \(no space"):
        _table(tmp_path / "t", ids=["d", "e", "f"], overwrite=True)
    assert ConceptTable.open(tmp_path / "t").ids == ["a", "b", "c"]
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_stores_and_tables_taken_for_each_other(demo_store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds a store of sequences, and a vision concept table"):
        ConceptTable.open(demo_store.path, modality="vision")
    with pytest.raises(UserError, match="holds a store of sequences, and a concept table"):
        ConceptTable.open(demo_store.path)
    _table(tmp_path / "t")
    with pytest.raises(UserError, match="holds a concept table, and a store of sequences"):
        Store.open(tmp_path / "t")


def test_an_absent_modality_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no vision concept table"):
        ConceptTable.open(tmp_path / "vision", modality="vision")
    _table(tmp_path / "t")
    with pytest.raises(UserError, match="holds language concepts, and vision"):
        ConceptTable.open(tmp_path / "t", modality="vision")
    (tmp_path / "t" / "features.npy").write_bytes(b"")
    with pytest.raises(UserError, match="damaged"):
        ConceptTable.open(tmp_path / "t")


def test_vision_features_come_in_through_the_same_interface(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.ones((2, 5), dtype=np.float16))
    (tmp_path / "ids.txt").write_bytes("walk 1\r\n\r\nb\r\n".encode("utf-8-sig"))  # Windows
    paths = [str(tmp_path / name) for name in ("f.npy", "ids.txt", "vision")]
    result = CliRunner().invoke(
        prompts, ["features", *paths, "--modality", "vision", "--model", "clip"]
    )
    assert result.exit_code == 0, result.output
    table = ConceptTable.open(tmp_path / "vision", modality="vision")
    assert table.join(["b"]).shape == (1, 1, 5) and table.ids == ["walk 1", "b"]


def test_commands_on_a_store(demo_store: Store, tiny_bert: Path, tmp_path: Path) -> None:
    store, out = str(demo_store.path), str(tmp_path / "language")
    make = ["kinematic", store, out, "--encoder", str(tiny_bert), "--windows", "4"]
    run = CliRunner().invoke(prompts, make, catch_exceptions=False)
    assert run.exit_code == 0 and "× 4 captions" in run.output
    assert "longer than the encoder reads" in run.output  # 12 tokens at most
    again = CliRunner().invoke(prompts, make, catch_exceptions=False)
    assert " 0 captions read" in again.output
    table = ConceptTable.open(out)
    assert table.manifest["store"] == demo_store.digest
    counts = table.manifest["counts"]
    assert counts["long_captions"] == counts["distinct_captions"]
    name = str(demo_store.index["id"][0])
    assert len(CliRunner().invoke(prompts, ["show", out, name]).output.splitlines()) == 4
    assert "modality" in CliRunner().invoke(prompts, ["show", out]).output
    judged = CliRunner().invoke(prompts, ["probe", out, store, "--split", "xsub"])
    assert judged.exit_code == 0 and "test subjects" not in judged.output
    with pytest.raises(UserError, match="other|another"):
        build(demo_store, Path(out), Letters(), windows=4)


def test_richer_rules_are_asked_for(demo_store: Store, tiny_bert: Path, tmp_path: Path) -> None:
    store, out = str(demo_store.path), str(tmp_path / "richer")
    make = ["kinematic", store, out, "--encoder", str(tiny_bert), "--rules", "6"]
    run = CliRunner().invoke(prompts, make, catch_exceptions=False)
    rules = SENTENCES | PARTNER  # some sequences of the demo set show two persons
    assert run.exit_code == 0 and f"× {sum(rules.values())} captions" in run.output
    table = ConceptTable.open(out)
    assert table.manifest["settings"] == {"method": "kinematic", "rules": 6}
    written = table.texts(table.ids[0])["rule"]
    assert written.value_counts(sort=False).to_dict() == rules
    judged = CliRunner().invoke(prompts, ["probe", out, store, "--split", "xsub", "--rules"])
    assert judged.exit_code == 0 and judged.output.count("\n| ") == 2 + len(rules)
    refused = CliRunner().invoke(prompts, [*make, "--windows", "4"])
    assert isinstance(refused.exception, UserError) and "--windows" in str(refused.exception)
    build(demo_store, tmp_path / "plain", Letters(), windows=2)
    refused = CliRunner().invoke(prompts, ["probe", str(tmp_path / "plain"), store, "--rules"])
    assert isinstance(refused.exception, UserError) and "rules 6" in str(refused.exception)


def test_a_changed_caption_alone_is_encoded(demo_store: Store, tmp_path: Path) -> None:
    first = Letters()
    read = build(demo_store, tmp_path / "a", first, windows=4).read
    assert read == len(first.asked) == len(set(first.asked))
    again = Letters()
    read = build(demo_store, tmp_path / "b", again, windows=4).read
    assert read == 0 and not again.asked


def test_probe_reads_what_captions_tell(utd_store: Store, tmp_path: Path) -> None:
    """Bags of caption words, which need no model, carry the action to unseen subjects."""
    from sklearn.feature_extraction.text import HashingVectorizer

    from c2vl.prompts.rules.kinematic_table import caption_store

    words = HashingVectorizer(n_features=512, ngram_range=(1, 2), alternate_sign=False)
    texts = [" ".join(row) for row in caption_store(utd_store)]
    rows = words.transform(texts).toarray()[:, None]
    ids = [str(name) for name in utd_store.index["id"]]
    table = write_table(tmp_path / "t", ids, rows, modality="language", model="bag")
    result = probe_table(table, utd_store, "utd_xsub")
    assert result.test is None and sorted(result.by_subject) == [1, 3, 5, 7]
    assert result.validation > 0.75


def test_probe_leaves_out_sequences_without_a_class(
    demo_store: Store, language: Path, tmp_path: Path
) -> None:
    """Five of 104 make no class of their own; a store without classes says so, as the page does."""
    some = without_classes(demo_store, tmp_path / "some", 21)
    given = ["probe", str(language)]
    result = CliRunner().invoke(prompts, [*given, str(some.path), "--test"])
    assert result.exit_code == 0 and "without a class        5 sequences" in result.output
    assert "chance 7.7%" in result.output  # of 13 classes
    none = without_classes(demo_store, tmp_path / "none", 1)
    result = CliRunner().invoke(prompts, [*given, str(none.path)])
    assert isinstance(result.exception, UserError)
    assert "no training sequence" in str(result.exception)
    for name, says in (("some", "5 sequences without a class"), ("none", "no training sequence")):
        page = ["inspect", str(tmp_path / f"{name}.html"), "--store", str(tmp_path / name)]
        CliRunner().invoke(prompts, [*page, "--language", str(language)], catch_exceptions=False)
        assert says in (tmp_path / f"{name}.html").read_text()
    for words, says in (
        (["probe", str(language), "--test"], "--test, --split: need a STORE"),
        (["probe", str(language), "--split", "xsub"], "--test, --split: need a STORE"),
        (["inspect", "x.html", "--language", str(language), "--split", "xsub"], "--split: needs"),
    ):
        result = CliRunner().invoke(prompts, words)
        assert isinstance(result.exception, UserError) and says in str(result.exception)
    with pytest.raises(UserError, match="has one"):
        probe.probe(np.eye(4, dtype=np.float32), np.zeros(4, int), np.arange(4), np.arange(4))


def test_probe_of_many_sequences_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a class has been seen of the left-out subject alone."""
    draw = np.random.default_rng(0)
    labels, subjects = draw.integers(0, 9, 900), draw.integers(0, 6, 900)
    labels[(labels == 8) & (subjects != 3)] = 0
    rows = draw.normal(size=(9, 20))[labels] * 0.6 + draw.normal(size=(900, 20)) + 1
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    one_by_one = probe.probe(rows, labels, subjects, np.arange(900))
    monkeypatch.setattr(probe, "LARGE", 0)
    assert probe.probe(rows, labels, subjects, np.arange(900)) == one_by_one


def test_importing_concepts_imports_no_model() -> None:
    code = "import sys, c2vl.prompts.table, c2vl.commands.prompts; print('torch' in sys.modules, 'transformers' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]
