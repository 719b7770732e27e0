"""A sweep checked before it runs: all problems at once, what it amounts to, schemas for editors."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

from c2vl.support.errors import UserError
from sweeps.commands.planning import schema, validate
from sweeps.planning import cost as plan
from sweeps.planning import preflight
from sweeps.planning.calibration import Calibration
from sweeps.spec.checks import check_draws
from sweeps.spec.reading import load_sweep
from tests.small import from_dict, parse_sweep

ROOT = Path(__file__).parents[3]
LR: dict[str, Any] = {"optim.lr": {"type": "float", "low": 0.01, "high": 1, "log": True}}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def run(*words: object) -> Result:
    return CliRunner().invoke(validate, [str(word) for word in words])


@pytest.mark.mlflow
def test_a_good_sweep_and_what_it_amounts_to(sweep_file: Path, tmp_path: Path) -> None:
    done = run(
        sweep_file,
        "--calibrate",
        "final.seeds=[0,1]",
        "final.test=true",
        "final.beside=[hard]",
        "trials=9",
    )
    assert done.exit_code == 0, done.output
    found = dict(line.split(maxsplit=1) for line in done.output.splitlines()[1:])
    assert found["space"] == "1000 draws make valid experiments"
    assert found["data"] == "demo (generated) xsub: 52 for training, language for 52"
    assert found["trials"] == "9, 1 at once, then up to 3 more trainings"
    assert found["assumed"] == "one in 2 goes on at each rung from epoch 1 on"
    # rungs at 1 and 2 of 4 epochs: 1 + 1/2 + 2/4 of them, 9 times, and 3 × 4 at the end
    assert found["epochs"] == "up to 4 a trial; about 30 in all"
    assert found["measured"].startswith("6 steps of ")
    assert "CPU hours" in found["cost"] and "GPU" not in found["cost"]
    assert not (tmp_path / "runs").exists()  # nothing was made


@pytest.mark.mlflow
def test_problems_come_together_each_with_its_remedy(
    sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    words = ["prompts.language=nowhere", "tracking.uri=http://127.0.0.1:9", "trials=5"]
    (tmp_path / "file").touch()  # where a folder should be
    words += [f"study=sqlite:///{tmp_path}/file/study.db", "train.cpus_per_worker=1000"]
    done = run(sweep_file, *words)
    assert done.exit_code == 2
    problems = [line for line in done.output.splitlines() if line.startswith("c2vl-sweep: ")]
    for problem, remedy in (
        ("prompts.language: nowhere", "c2vl prompts"),
        ("tracking.uri: MLflow at http://127.0.0.1:9 does not answer", "start the server"),
        ("study: ", "choose another place"),
        ("a trial needs 1 worker(s) with 1000 CPU", "lower them"),
        ("storage: trials write up to", "make room"),
    ):
        (line,) = [line for line in problems if line.startswith(f"c2vl-sweep: {problem}")]
        assert remedy in line
    assert len(problems) == 5


@pytest.mark.mlflow
def test_a_name_that_is_taken(sweep_file: Path, tmp_path: Path) -> None:
    spec = load_sweep(sweep_file)
    spec.folder.path.mkdir(parents=True)
    (spec.folder / "sweep.yaml").write_text("name: small\n")
    found = preflight.look("name", lambda: preflight.free_name(spec))
    assert "resume small" in found.problems[0] and "name=OTHER" in found.problems[0]


@pytest.mark.parametrize("uri", ["sqlite:foo", "postgresql://host:port/db"])
def test_an_address_that_is_none_is_named(uri: str, sweep_file: Path) -> None:
    spec = load_sweep(sweep_file, [f"study={uri}"])
    (problem,) = preflight.look("study", lambda: preflight.study(spec)).problems
    assert problem.startswith(f"study: {uri} is no address of a database; write for example")


def test_a_thousand_draws_are_cheap(sweep_file: Path) -> None:
    spec = load_sweep(sweep_file)
    before = time.process_time()
    check_draws(spec, preflight.DRAWS)
    assert time.process_time() - before < 2


@pytest.mark.parametrize(
    ("pruner", "share"),
    [
        ({"name": "none"}, 1.0),
        ({"name": "asha", "min_epochs": 1, "reduction": 3}, (1 + 2 / 3 + 6 / 9 + 18 / 27) / 27),
        ({"name": "asha", "min_epochs": 27}, 1.0),
    ],
)
def test_the_share_that_a_pruner_lets_through(pruner: dict[str, Any], share: float) -> None:
    base = {"train": {"epochs": 27, "evaluate_every": 1}}
    spec = parse_sweep({"name": "a", "space": LR, "base": base, "pruner": pruner}, "a.yaml")
    assert plan.expected_share(spec)[0] == pytest.approx(share)


def test_figures_that_come_rarely_judge_late() -> None:
    base = {"train": {"epochs": 20, "evaluate_every": 5}}
    spec = parse_sweep({"name": "a", "space": LR, "base": base}, "a.yaml")
    assert plan.rungs(spec, 1, 20) == [5, 10]  # of 1, 3, 9
    loss = {"objectives": [{"metric": "loss", "direction": "minimize"}]}
    spec = parse_sweep({"name": "a", "space": LR, "base": base, **loss}, "a.yaml")
    assert plan.rungs(spec, 1, 20) == [1, 3, 9]


def test_time_of_a_training_is_the_sum_of_its_parts() -> None:
    experiment = from_dict({"train": {"evaluate_every": 5, "checkpoint_every": 10}})
    measured = Calibration(3.0, 0.1, 50, 2.0, 1.0, 10**6)
    assert measured.training(experiment, 20) == pytest.approx(3 + 20 * 50 * 0.1 + 4 * 2 + 2 * 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": {"optim": {"lrr": 1}}}, r'base\.optim\.lrr: no such setting; did you mean "lr"'),
        ({"base": {"objective": {"schedule": {"ends": 1}}}}, r'schedule\.ends: .* "end"'),
        ({"base": {"modle": {}}}, r'base\.modle: no such setting; did you mean "model"'),
        ({"points": [{"optim.rl": 0.1}]}, r'points\[0\]: optim\.rl .* "optim\.lr"'),
        ({"points": [{"optim.lr": 7}]}, r"points\[0\]\.optim\.lr: 7 is outside"),
        ({"sampler": {"startup": 1}}, r'sampler\.startup: .* "startup_trials"'),
        ({"final": {"seed": [1]}}, r'final\.seed: .* "seeds"'),
        ({"repeats": 2}, r"repeats: 2 seeds .* gives 1; say final\.seeds: \[0, 1\]"),
        (
            {"repeats": 2, "final": {"seeds": [1]}, "keep": {"encoders": 3}},
            r"keep\.encoders: with repeats",
        ),
        ({"objectives": [{"metrc": "loss"}]}, r'objectives\.0\.metrc: .* "metric"'),
        ({"space": {**LR, "train.ema": {**LR["optim.lr"], "lo": 1}}}, r'ema.*\.lo: .* "low"'),
        (
            {
                "space": {
                    **LR,
                    "train.ema": {**LR["optim.lr"], "high": 0.9, "when": {"optm.lr": [1]}},
                }
            },
            r'train\.ema\.when: optm\.lr is not searched; did you mean "optim\.lr"',
        ),
        (
            {"space": {"v": {"type": "variant", "choices": {"a": {"optim": {"lrr": 1}}}}}},
            r'space\.v\.choices\.a\.optim\.lrr: no such setting; did you mean "optim\.lr"',
        ),
    ],
)
def test_a_misspelt_name_is_told_with_its_path(changes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_sweep({"name": "a", "space": LR, **changes}, "a.yaml")


@pytest.mark.parametrize("word", ["trails=3", "optm.lr=3", "base.optim.lrr=3", "sampler.nam=tpe"])
def test_a_misspelt_override_is_told(word: str, sweep_file: Path) -> None:
    with pytest.raises(UserError, match="no such setting; did you mean"):
        load_sweep(sweep_file, [word])


def test_schemas_take_what_we_take_and_refuse_what_we_refuse(tmp_path: Path) -> None:
    done = CliRunner().invoke(schema, [str(tmp_path / "schema")])
    assert "# yaml-language-server: $schema=" in done.output
    made = {
        path.name.partition(".")[0]: json.loads(path.read_text())
        for path in (tmp_path / "schema").iterdir()
    }
    sweep = jsonschema.Draft202012Validator(made["sweep"])
    experiment = jsonschema.Draft202012Validator(made["experiment"])
    for path in (ROOT / "sweeps/presets").rglob("*.yaml"):
        assert list(sweep.iter_errors(yaml.safe_load(path.read_text()))) == [], path
    for path in (ROOT / "c2vl/presets").glob("*.yaml"):
        assert list(experiment.iter_errors(yaml.safe_load(path.read_text()))) == [], path
    good = {"name": "a", "space": LR}
    assert sweep.is_valid(good) and sweep.is_valid({**good, "base": "experiment.yaml"})
    for bad in (
        {**good, "trails": 3},
        {**good, "trials": 0},
        {**good, "base": {"optim": {"lrr": 1}}},
        {"name": "a", "space": {"optim.lrr": LR["optim.lr"]}},  # no setting, and no variant
        {"name": "a", "space": {"train.workers": {"type": "int", "low": 1, "high": 2}}},
        {"name": "a", "space": {"optim.lr": {"type": "float", "low": 1}}},
    ):
        assert not sweep.is_valid(bad), bad
    assert not experiment.is_valid({"train": {"epoch": 3}})
