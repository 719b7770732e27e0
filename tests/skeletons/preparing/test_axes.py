"""Recordings in another sensor's axes and unit: told at once, and converted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from c2vl.commands.main import c2vl
from c2vl.skeletons.axes import UP
from c2vl.skeletons.layout import get_layout
from c2vl.skeletons.layout_files import layout_yaml
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError

Write = Callable[[Path, list[NDArray[np.float64]]], None]


def _folder(folder: Path, sequences: list[NDArray[np.float64]]) -> None:
    rows = ["id,label"]
    for number, joints in enumerate(sequences):
        np.save(folder / f"s{number:02}.npy", joints)
        rows.append(f"s{number:02},{number % 2}")
    (folder / "sequences.csv").write_text("\n".join(rows))
    (folder / "layout.yaml").write_text(layout_yaml(get_layout("ntu25")))


def _arrays(folder: Path, sequences: list[NDArray[np.float64]]) -> None:
    """As 2s-AGCN's preparation has them: its upright bodies stand along z."""
    bodies = np.zeros((len(sequences), 3, 60, 25, 2), np.float32)
    for row, joints in enumerate(sequences):
        bodies[row, :, : joints.shape[1], :, : len(joints)] = joints.transpose(3, 1, 2, 0)
    np.save(folder / "train_position.npy", bodies)
    np.save(folder / "train_label.npy", np.arange(len(sequences)) % 2)


@pytest.fixture
def upright(demo_store: Store) -> list[NDArray[np.float64]]:
    return [demo_store.joints(row).astype(float) for row in range(0, 104, 13)]


def _prepare(source: Path, kind: str, *words: str) -> str:
    out = source.parent / "store"
    result = CliRunner().invoke(c2vl, ["data", "prepare", kind, str(source), str(out), *words])
    if isinstance(result.exception, UserError):
        return f"refused: {result.exception}"
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(("kind", "write"), [("folder", _folder), ("arrays", _arrays)])
@pytest.mark.parametrize("up", UP)
def test_another_axis_points_up(
    kind: str, write: Write, up: str, upright: list[NDArray[np.float64]], tmp_path: Path
) -> None:
    (source := tmp_path / "mine").mkdir()
    write(source, [joints @ np.array(UP[up]) for joints in upright])
    if up != "y":
        said = _prepare(source, kind)
        assert said.startswith("refused") and f"heads lie along {up} " in said
        assert f"give --up {up}" in said and not (tmp_path / "store").exists()
    other = "-z" if up != "-z" else "x"
    assert f"give --up {up}" in _prepare(source, kind, "--up", other), "a wrong one is told too"
    assert "8 sequences" in _prepare(source, kind, "--up", up)
    store = Store.open(tmp_path / "store")
    for row, joints in enumerate(upright):
        assert np.allclose(store.joints(row), joints, atol=1e-5)


@pytest.mark.parametrize(("unit", "metres"), [("cm", 0.01), ("mm", 0.001), ("inch", 0.0254)])
def test_another_unit(
    unit: str, metres: float, upright: list[NDArray[np.float64]], tmp_path: Path
) -> None:
    (source := tmp_path / "mine").mkdir()
    _folder(source, [joints / metres for joints in upright])
    said = _prepare(source, "folder")
    assert said.startswith("refused") and "--unit" in said
    if unit == "cm":
        assert "m across" in said and "give --unit cm" in said
        assert "give --unit cm" in _prepare(source, "folder", "--unit", "mm"), "a wrong one too"
    assert "8 sequences" in _prepare(source, "folder", "--unit", unit)
    assert np.allclose(Store.open(tmp_path / "store").joints(7), upright[7], atol=1e-4)


def test_what_is_right_though_it_looks_wrong(
    upright: list[NDArray[np.float64]], tmp_path: Path
) -> None:
    """People who lie on a bed; hands alone."""
    (source := tmp_path / "mine").mkdir()
    _folder(source, [joints[..., [1, 0, 2]] / 10 for joints in upright])
    assert "--unit m if this is right" in _prepare(source, "folder")
    assert "--up y if this is right" in _prepare(source, "folder", "--unit", "m")
    assert "8 sequences" in _prepare(source, "folder", "--unit", "m", "--up", "y")
    assert "--overwrite" in _prepare(source, "folder", "--unit", "m")
    assert "--up w: give one of y, -y" in _prepare(source, "folder", "--up", "w")
    assert "--unit feet: give m, cm, mm" in _prepare(source, "folder", "--unit", "feet")
