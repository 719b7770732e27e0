"""Settings: strict names, readable errors, a round trip through YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from c2vl.config import experiment as config
from c2vl.config import reading as config_files
from c2vl.support.errors import UserError
from tests.small import from_dict


def test_round_trip(tmp_path: Path) -> None:
    changes = {"objective.temperature": 0.05, "data.augment.shear": 0.1, "train.epochs": 7}
    experiment = from_dict(config_files.override({}, changes))
    path = tmp_path / "experiment.yaml"
    path.write_text(config_files.dump(experiment))
    assert config_files.load(path) == experiment


def test_overrides_are_typed(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text("optim: {lr: 0.2}\ndata: {store: s}\n")
    experiment = config_files.load(
        path,
        [
            "optim.weight_decay=1e-3",
            "prompts.language=null",
            "objective.weights.skeleton_language=0",
            "objective.weights.skeleton_vision=1",
            "prompts.vision=v",
        ],
    )
    assert experiment.optim.lr == 0.2 and experiment.optim.weight_decay == 1e-3
    assert experiment.prompts.language is None


def test_messages_name_the_command_line_or_the_file(tmp_path: Path) -> None:
    (path := tmp_path / "mine.yaml").write_text("data: {store: s}\ntrain: {epochs: few}\n")
    with pytest.raises(UserError) as told:
        config_files.load(path, ["optim.lr=fast", "prompts.language=l"])
    lines = sorted(str(told.value).splitlines())
    assert lines[0].startswith("command line: optim.lr: must be a number")
    assert lines[1].startswith("mine.yaml: train.epochs: must be a whole number")


def test_no_default_points_at_anybodys_data(tmp_path: Path) -> None:
    """A file with a name alone once trained on the demo's generated data."""
    (path := tmp_path / "experiment.yaml").write_text("name: mine\n")
    with pytest.raises(UserError, match=r"data\.store: must be set: prepared store"):
        config_files.load(path)
    with pytest.raises(UserError, match=r"prompts\.language names no table"):
        config_files.load(path, ["data.store=mine"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objective.temprature": 1},
            r'objective\.temprature: no such setting; did you mean "temp',
        ),
        ({"optim.lr": "fast"}, r"optim\.lr: .*\(given: 'fast'\)"),
        ({"model.temporal_kernel": 8}, "temporal_kernel must be odd"),
        ({"train.batch_size": 63, "train.workers": 2}, "does not divide by workers 2"),
        ({"train.workers": 2, "train.gpus_per_worker": 0.5}, "fraction of a GPU"),
        ({"train.gpus_per_worker": 2}, "one worker uses one GPU"),
        ({"prompts.language": None}, r"prompts\.language names no table"),
        ({"objective.weights.skeleton_vision": 1}, r"prompts\.vision names no table"),
        (
            {"objective.weights.vision_language": 1, "prompts.vision": "v"},
            r"set prompts\.adapter to true",
        ),
        ({"objective.targets": "inter", "objective.teacher": "ema"}, r"needs train\.ema"),
        ({"objective.targets": "both", "objective.consistency": "cross"}, "both skeleton edges"),
        ({"train.evaluate_ema": True}, "evaluate_ema needs ema"),
        ({"optim.lr": float("nan")}, "finite"),
        ({"objective": 3}, "objective"),
        ({"temperature": 0.07}, r'temperature: no such setting; did you mean "objective\.temp'),
        ({"name": "a/b"}, r"name: cannot have '/' in it"),
        ({"name": "-a"}, "name: must begin with a letter or digit"),
        ({"name": "a" * 101}, "name: is too long"),
        ({"train.epochs": "many"}, r"train\.epochs: must be a whole number \(given: 'many'\)"),
        ({"optim": "adamw"}, r"optim: must be settings .*: optim\.name=adamw"),
        ({"data.stream": "joints"}, r"data\.stream: must be 'joint', 'bone' or 'motion'"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_dict(config_files.override({}, changes))


def test_a_file_that_is_not_settings(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    with pytest.raises(UserError, match="no such file"):
        config_files.load(path)
    path.write_text("[1, 2]")
    with pytest.raises(UserError, match="expected settings"):
        config_files.load(path)
    path.write_text("a: 1\nb: 2\nc: 3\n")
    with pytest.raises(
        UserError, match=r"something else \(it has a, b, c\); settings here are name"
    ):
        config_files.load(path)
    path.write_text("space: {}\nbase: {}\n")
    with pytest.raises(UserError, match=r"is a sweep file .* `c2vl-sweep run .*x.yaml` runs"):
        config_files.load(path)
    path.write_bytes("# caf\u00e9".encode("latin-1"))
    with pytest.raises(UserError, match=r"x.yaml, line 1: not UTF-8 text; save it as UTF-8"):
        config_files.load(path)
    with pytest.raises(UserError, match="demo: no such file; did you mean preset:demo"):
        config_files.load(Path("demo"))
    path.write_text("a: b: c")
    with pytest.raises(UserError, match="YAML"):
        config_files.load(path)
    with pytest.raises(UserError, match="key=value"):
        config_files.parse_overrides(["lr"])


def test_every_setting_says_what_it_is() -> None:
    """A sweep may search any setting, so the list must be complete and flat."""
    names = config_files.setting_names()
    listed = {name: default for name, default, _ in config_files.described(config.Experiment)}
    assert names.keys() == listed.keys()
    assert "objective.schedule.end" in names and "objective.weights.skeleton_language" in names


def test_every_setting_says_what_it_means() -> None:
    assert [
        name for name, _, meaning in config_files.described(config.Experiment) if not meaning
    ] == []


def test_settings_say_what_they_may_be() -> None:
    allowed = config_files.allowed(config.Experiment)
    assert allowed["data.frames"] == "at least 8, at most 1000"
    assert allowed["data.stream"] == "one of: joint, bone, motion"
    assert allowed["objective.temperature"].startswith("above 0")
    assert allowed["model.name"].startswith("one of: ") and "stgcn" in allowed["model.name"]
    assert allowed["data.centre"] == "true or false" and "data.split" not in allowed
