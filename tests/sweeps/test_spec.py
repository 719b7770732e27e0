"""Sweep files: presets load, mistakes are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from c2vl.errors import UserError
from sweeps.space import RandomDraws, draw, experiment
from sweeps.spec import dump_sweep, load_sweep, parse_sweep, read_sweep, sweep_folder


def test_a_copied_folder_is_not_taken_for_the_sweep_in_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = sweep_folder(tmp_path, name)
        folder.mkdir(parents=True)
        (folder / "sweep.yaml").write_text(dump_sweep(parse_sweep({"name": "a", "space": LR}, "a")))
    assert read_sweep(tmp_path, "a").name == "a"
    with pytest.raises(UserError, match="is of the sweep a"):
        read_sweep(tmp_path, "b")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UserError, match=r"no such sweep.*there: a, b"):
        read_sweep(tmp_path, "../sweeps/a")


def test_a_space_may_come_from_the_command_line_alone(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nspace:\n")
    spec = load_sweep(tmp_path / "a.yaml", ["space.optim.lr={type: float, low: 0.1, high: 1}"])
    assert list(spec.space) == ["optim.lr"]


PRESETS = sorted((Path(__file__).parents[2] / "sweeps" / "presets").glob("*.yaml"))
LR = {"optim.lr": {"type": "float", "low": 0.01, "high": 1, "log": True}}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_load_and_draw(path: Path) -> None:
    assert path.read_text().startswith("# c2vl-sweep "), "it opens with the command that runs it"
    spec = load_sweep(path)
    assert spec.name == path.stem
    drawn = [draw(spec.space, RandomDraws(seed)) for seed in range(20)]
    made = [experiment(spec.base, spec.space, values) for values in drawn]
    assert len({str(one) for one in made}) > 1


def test_round_trip() -> None:
    spec = parse_sweep({"name": "a", "space": LR}, "a.yaml")
    import yaml

    assert parse_sweep(yaml.safe_load(dump_sweep(spec)), "a.yaml") == spec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"optim.lrr": LR["optim.lr"]}}, r"optim\.lrr: no such setting"),
        ({"space": {"optim.lr": {**LR["optim.lr"], "low": 2}}}, r"optim\.lr"),
        (
            {"space": {"v": {"type": "variant", "choices": {"a": {"train.workers": 2}}}}},
            r"choices\.a\.train\.workers: cannot be searched",
        ),
        ({"space": {"optim.lr": {**LR["optim.lr"], "high": 1000}}}, r"optim\.lr"),
        ({"trails": 3}, r'trails: no such setting; did you mean "trials"'),
        ({"sampler": {"name": "grid"}}, "grid"),
        ({"objectives": [{"metric": "knn_test"}]}, "knn_test"),
        ({"base": {"train": {"batch_size": 63, "workers": 2}}}, "does not divide"),
        ({"final": {"seeds": [1, 0, 1]}}, r"final\.seeds.*1 is named twice"),
        ({"final": {"seeds": [-1]}}, r"final\.seeds"),
        ({"final": {"beside": ["base", "base"]}}, r"final\.beside.*base is named twice"),
        ({"tracking": {"model": "O'Brien"}}, r"tracking\.model"),
        ({"storage": "odd%41 folder"}, r"storage: .*has a % in it"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_sweep({"name": "a", "space": LR, **changes}, "a.yaml")


PRESETS = sorted((Path(__file__).parents[2] / "sweeps" / "presets").rglob("*.yaml"))


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_a_sweep_and_opens_with_its_command(path: Path) -> None:
    spec = load_sweep(path)  # draws from its space and builds each experiment
    where = path.relative_to(Path(__file__).parents[2])
    assert path.read_text().splitlines()[0] == f"# c2vl-sweep run {where}"
    assert spec.name in (path.stem, f"ablation_{path.stem}")
