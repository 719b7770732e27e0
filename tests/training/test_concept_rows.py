"""Concepts drawn from a table on the disk are those of the whole table, normalised in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from c2vl.prompts.table import ConceptTable
from c2vl.prompts.table_writing import write_table
from c2vl.skeletons.cache import Cache
from c2vl.support.errors import UserError
from c2vl.training import concept_rows
from c2vl.training.concept_rows import ConceptRows, normalisation

PLACES = np.array([5, 0, -1, 199, 3, 77])


@pytest.fixture
def table(tmp_path: Path) -> ConceptTable:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(200, 4, 6)) * [3, 1, 1, 1, 1, 0.2] + 2
    ids = [str(number) for number in range(200)]
    return write_table(
        tmp_path / "t", ids, features.astype(np.float32), modality="vision", model="m"
    )


@pytest.mark.parametrize("how", ["none", "centre", "whiten"])
@pytest.mark.parametrize("chunk", [7, 4096])
def test_draws_are_the_normalised_means(
    table: ConceptTable, tmp_path: Path, how: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert table.features.dtype == np.float16
    monkeypatch.setattr(concept_rows, "CHUNK", chunk)
    seen = np.arange(3, 150)
    rows = table.features.astype(np.float64)
    means = rows[seen].mean(1)
    if how != "none":
        rows = rows - means.mean(0)
    if how == "whiten":
        values, directions = np.linalg.eigh(np.cov(means.T))
        floor = np.maximum(values, values[-1] / 100)
        rows = rows @ (directions / np.sqrt(floor)) @ directions.T
    expected = rows[PLACES].mean(1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    expected[PLACES < 0] = 0

    how_normalised = normalisation(table, seen, how, Cache(tmp_path))
    found = ConceptRows(table, PLACES, how_normalised)
    assert found.shape == (6, 4, 6)
    np.testing.assert_allclose(found.means(torch.arange(6)), expected, atol=2e-6)
    weight, bias = how_normalised.affine()
    raw = torch.from_numpy(table.features[PLACES].astype(np.float32)).mean(1)
    unit = torch.nn.functional.normalize(raw @ weight.t() + bias, dim=1)
    np.testing.assert_allclose(unit[PLACES >= 0], expected[PLACES >= 0], atol=2e-6)

    one, two = (found.draw(torch.tensor([1, 0]), 1, torch.Generator()) for _ in range(2))
    assert one.equal(two)
    alone = rows[PLACES[[1, 0]]] / np.linalg.norm(rows[PLACES[[1, 0]]], axis=2, keepdims=True)
    assert (np.abs(alone - one.numpy()[:, None]).max(2).min(1) < 2e-6).all()  # one prompt of each


@pytest.mark.parametrize("how", ["centre", "whiten"])
def test_prompts_that_are_all_the_same_are_refused(how: str, tmp_path: Path) -> None:
    """Without their mean nothing is left: rows of zeros, or not finite."""
    same = np.tile(np.random.default_rng(0).normal(size=6).astype(np.float32), (7, 2, 1))
    table = write_table(tmp_path / "t", list("abcdefg"), same, modality="language", model="m")
    with pytest.raises(UserError, match=r"all 7 sequences .* have the same prompts"):
        normalisation(table, np.arange(7), how, Cache(tmp_path))


def test_statistics_of_a_large_table_are_computed_once(
    table: ConceptTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(concept_rows, "_WORTH_A_FILE", 0)
    first = normalisation(table, np.arange(90), "whiten", Cache(tmp_path))
    other = normalisation(table, np.arange(91), "whiten", Cache(tmp_path))
    monkeypatch.setattr(concept_rows, "_statistics", lambda *_: pytest.fail("computed again"))
    again = normalisation(table, np.arange(90), "whiten", Cache(tmp_path))
    assert first.matrix is not None and again.matrix is not None and other.matrix is not None
    assert again.matrix.equal(first.matrix) and again.centre.equal(first.centre)
    assert not other.matrix.equal(first.matrix)


def test_features_far_from_unit_length_keep_their_digits(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32) * 1e5
    table = write_table(tmp_path / "t", list("abc"), rows, modality="vision", model="m")
    assert table.features.dtype == np.float32
    np.testing.assert_array_equal(table.join(["b"]), rows[1:2])
