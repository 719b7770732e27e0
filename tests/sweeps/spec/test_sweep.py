"""Sweep files: presets load, mistakes are named."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from pydantic import TypeAdapter

from c2vl.config.reading import PRESETS as EXPERIMENTS
from c2vl.config.reading import load
from c2vl.support.errors import UserError
from sweeps.search.warm_start import distribution
from sweeps.spec.reading import dump_sweep, load_sweep, read_sweep
from sweeps.spec.space import RandomDraws, Variable, choices, draw, experiment, grid, holds
from sweeps.spec.sweep_folder import SweepFolder
from tests.small import parse_sweep

PRESETS = Path(__file__).parents[3] / "sweeps" / "presets"
LR = {"optim.lr": {"type": "float", "low": 0.01, "high": 1, "log": True}}
AT_URL = {"storage": "s3://lab/runs", "study": "sqlite:////d/s.db", "tracking": {"uri": "http://m"}}
HIDDEN = {"model.hidden": {"type": "int", "low": 4, "high": 16, "step": 4}}
TAU = {"objective.temperature": {"type": "float", "low": 0.05, "high": 0.5, "step": 0.05}}
CHOICE = {"type": "categorical", "choices": [1]}
OBJECTIVES = {"type": "categorical", "choices": ["c2vl", "skeletonclr"]}
END: dict[str, Any] = {"type": "float", "low": 0.1, "high": 1.0, "step": 0.1}
VISION = "loss_skeleton_vision is never reported, since objective.weights.skeleton_vision is 0"


@pytest.mark.parametrize(
    "rule",
    ["system_memory_mib <= 4000", "alpha <= 0.5", "temperature_skeleton_language >= 0.02",
     "alignment_language <= 1", "grad_norm + lr <= 9", "data_wait < 0.1"],
)  # fmt: skip
def test_whatever_training_reports_can_be_a_constraint_or_objective(rule: str) -> None:
    base = {"train": {"system_metrics": True}, "optim": {"clip": 1.0}}
    values = {"name": "a", "space": LR, "base": base, "constraints": [rule]}
    (read,) = parse_sweep(values, "a.yaml").rules
    for name in read.figures:
        objective = {"metric": name, "direction": "minimize"}
        sweep = parse_sweep({**values, "objectives": [objective]}, "a.yaml")
        assert sweep.objectives[0].metric == name


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_load_and_draw(path: Path) -> None:
    assert path.read_text().startswith("# c2vl-sweep "), "it opens with the command that runs it"
    spec = load_sweep(path)
    assert spec.name == path.stem
    drawn = [draw(spec.space, RandomDraws(seed)) for seed in range(20)]
    made = [experiment(spec.base, spec.space, values) for values in drawn]
    assert len({str(one) for one in made}) > 1


READ = """
from pathlib import Path
from sweeps.spec.lock import is_running
from sweeps.spec.reading import load_sweep, read_sweep, dump_sweep
spec = load_sweep(Path(sys.argv[1]), [f"storage={sys.argv[2]}"])
spec.folder.path.mkdir(parents=True)
spec.folder.settings.write_text(dump_sweep(spec))
assert not is_running(read_sweep(spec.storage, spec.name).folder)
assert [path.name for path in spec.folder.path.iterdir()] == ["sweep.yaml"], "opens no database"
"""
HELP = """
from sweeps.commands.main import sweep
sweep(["validate", "--help"], standalone_mode=False)
"""
HEAVY = ["optuna", "sqlalchemy", "scipy", "torch", "ray", "mlflow", "pandas", "sqlite3"]


@pytest.mark.parametrize("does", [READ, HELP], ids=["reading", "help"])
def test_a_fresh_interpreter_reads_a_sweep_file_without_heavy_imports(
    does: str, tmp_path: Path
) -> None:
    code = f"import sys\n{does}\nprint([name for name in {HEAVY} if name in sys.modules])"
    command = [sys.executable, "-c", code, str(PRESETS / "demo.yaml"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_round_trip() -> None:
    spec = parse_sweep({"name": "a", "space": LR}, "a.yaml")
    import yaml

    assert parse_sweep(yaml.safe_load(dump_sweep(spec)), "a.yaml") == spec


def test_presets_have_names(tmp_path: Path) -> None:
    """A wheel alone brings them."""
    spec = load_sweep(Path("preset:ablations/beta"), ["trials=3"])
    assert (spec.trials, spec.base) == (3, load_sweep(Path("preset:ablations/beta")).base)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"space": LR, "base": "preset:utd_mhad"}))
    own = load_sweep(tmp_path / "own.yaml", ["name=own"])
    assert own.base.data == load(Path("preset:utd_mhad")).data
    other = load_sweep(Path("preset:ablations/beta"), ["base=preset:demo", "train.epochs=3"])
    assert (other.base.data, other.base.train.epochs) == (load(Path("preset:demo")).data, 3)
    with pytest.raises(UserError, match=r'preset:debgu: no such preset; did you mean "debug"'):
        load_sweep(Path("preset:debgu"))
    experiment, sweep = EXPERIMENTS / "demo.yaml", PRESETS / "demo.yaml"
    with pytest.raises(
        UserError, match=r"is an experiment file .* `c2vl train .*demo.yaml` trains"
    ):
        load_sweep(experiment)
    with pytest.raises(UserError, match=r"demo.yaml: is a sweep file .* an experiment is needed"):
        load_sweep(sweep, [f"base={sweep}"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"optim.lrr": LR["optim.lr"]}}, r"optim\.lrr: no such setting"),
        ({"space": {"optim.lr": {**LR["optim.lr"], "low": 2}}}, r"optim\.lr"),
        (
            {"space": {"v": {"type": "variant", "choices": {"a": {"train.workers": 2}}}}},
            r"choices\.a\.train\.workers: cannot be searched",
        ),
        *(
            ({"space": {key: CHOICE}}, rf"a\.yaml: space\.{key}: cannot be searched; ")
            for key in ("data.split", "data.validation_folds", "data.pretrain_on_validation")
        ),
        *(
            (
                {"final": {"beside": ["a"], "variants": {"a": {key: 2}}}},
                rf"final\.variants\.a\.{key}: cannot be changed",
            )
            for key in ("train.workers", "seed", "data.validation_folds")
        ),
        (
            {"space": {"objective.name": OBJECTIVES}, "final": {"beside": ["hard"]}},
            r"final\.beside: hard does not fit a draw that may win.*\n.*skeletonclr.*\n.*targets",
        ),
        ({"space": {"optim.lr": {**LR["optim.lr"], "high": 1000}}}, r"optim\.lr"),
        ({"trails": 3}, r'trails: no such setting; did you mean "trials"'),
        ({"sampler": {"name": "grid"}}, "grid"),
        ({"objectives": [{"metric": "knn_test"}]}, "knn_test"),
        ({"base": {"train": {"batch_size": 63, "workers": 2}}}, "does not divide"),
        ({"final": {"seeds": [1, 0, 1]}}, r"final\.seeds.*1 is named twice"),
        ({"final": {"seeds": [-1]}}, r"final\.seeds"),
        ({"final": {"beside": ["base", "base"]}}, r"final\.beside.*base is named twice"),
        ({"final": {"beside": ["aimcrl"]}}, r'final\.beside: aimcrl: .*did you mean "aimclr"'),
        ({"final": {"variants": {"a": {}}}}, r"final\.variants: a does not stand in final\.beside"),
        ({"final": {"variants": {"hard": {}}}}, r"final\.variants: hard is taken"),
        (
            {"final": {"beside": ["a"], "variants": {"a": {"optim.lrr": 1}}}},
            r"final\.beside: a: .*lrr: no such setting",
        ),
        ({"tracking": {"model": "O'Brien"}}, r"tracking\.model"),
        ({"storage": "odd%41 folder"}, r"storage: .*has a % in it"),
        ({"storage": "s3://lab/runs"}, r"study: SQLite cannot lie at s3://lab/runs; .*postgresql"),
        ({"storage": "s3://lab/runs", "study": "sqlite:////d/s.db"}, r"tracking\.uri: .*s3://lab"),
        ({**AT_URL, "study": "postgresql://me:word@db/s"}, r"study: has a password[^@]*PGPASSWORD"),
        (
            {**AT_URL, "base": {"train": {"reuse_workers": False}}},
            r"train\.reuse_workers: .*s3://lab/runs",
        ),
        ({"base": {"data": {"store": "s3://me:word@lab/a"}}}, r"data\.store: s3….*secret[^@]*$"),
        (
            {"storage": "/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_1/runs"},
            r"storage: /tmp/ray/.*Ray's cache .*storage=/shared/runs",
        ),
        ({"space": HIDDEN, "points": [{"model.hidden": 6}]}, "6 is outside .* steps of 4 from 4"),
        ({"space": TAU, "points": [{"objective.temperature": 0.17}]}, "0.17 is outside .* 0.05"),
        *(
            ({"space": HIDDEN, "points": [{"model.hidden": odd}]}, f"{odd!r} is outside")
            for odd in (math.inf, math.nan, 10**400)
        ),
        ({"space": {"optim.lr": {**LR["optim.lr"], "step": 1}}}, "log and step exclude"),
        (
            {
                "space": {
                    **TAU,
                    "v": {"type": "variant", "choices": {"a": {"objective": {"temperature": 1}}}},
                }
            },
            r"objective\.temperature is set by objective\.temperature and by v",
        ),
        (
            {"space": {"form (α)": {"type": "variant", "choices": {"a": {"optim.lr": 1}}}}},
            r"space\.form \(α\): MLflow takes no such name .* letters",
        ),
        (
            {"objectives": [{"metric": "loss_skeleton_vision", "direction": "minimize"}]},
            rf"a\.yaml: objectives: {VISION} in the base; raise it",
        ),
        (
            {
                "base": {"prompts": {"vision": "table"}},
                "space": {
                    "objective.weights.skeleton_vision": {"type": "categorical", "choices": [0, 1]}
                },
                "objectives": [{"metric": "loss_skeleton_vision", "direction": "minimize"}],
            },
            f"objectives: {VISION}\n",
        ),
        (
            {"constraints": ["system_memory_mib <= 4000"]},
            "constraints: system_memory_mib is never reported, since train.system_metrics is false "
            "in the base; set it to true",
        ),
        (
            {"objectives": [{"metric": "grad_norm", "direction": "minimize"}]},
            "objectives: grad_norm is never reported, since optim.clip is 0 in the base; raise it",
        ),
        (
            {"constraints": ["secnds <= 600"]},
            r'a\.yaml: constraints: "secnds <= 600": .* "seconds"',
        ),
        (
            {"space": {**LR, "objective.beta": {**END, "when": {"optim.lr": [0.3]}}}},
            "has no choices, but a range",
        ),
        (
            {
                "space": {
                    "objective.schedule.end": END,
                    "objective.beta": {**END, "when": {"objective.schedule.end": [0.35]}},
                }
            },
            r"is never 0\.35: \[0\.1, 0\.2, 0\.3,",
        ),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_sweep({"name": "a", "space": LR, **changes}, "a.yaml")


def test_a_variant_sets_what_it_names_and_no_more() -> None:
    variant = {"type": "variant", "choices": {"a": {"objective": {"temperature": 0.2}}}}
    base = {"objective": {"beta": 0.37}}
    spec = parse_sweep({"name": "a", "base": base, "space": {"in form: v": variant}}, "a.yaml")
    made = experiment(spec.base, spec.space, {"in form: v": "a"}).objective
    assert (made.temperature, made.beta) == (0.2, 0.37)


def test_a_condition_on_steps_holds_for_what_optuna_draws_there() -> None:
    when = {"objective.schedule.end": [0.3, 1]}
    space = {"objective.schedule.end": END, "objective.beta": {**END, "when": when}}
    spec = parse_sweep({"name": "a", "space": space}, "a.yaml")
    for step, drawn in enumerate((0.1, 0.2, 0.1 + 2 * 0.1, 0.4), 1):
        trial = optuna.trial.FixedTrial({"objective.schedule.end": drawn, "objective.beta": 0.5})
        assert ("objective.beta" in draw(spec.space, trial)) == (step == 3)
    assert {len(point) for point in grid(spec.space)} == {1, 2} and len(grid(spec.space)) == 28


@pytest.mark.parametrize(
    "variable",
    [
        {"type": "float", "low": 0.1, "high": 0.3, "step": 0.1},
        {"type": "float", "low": 0.1, "high": 0.35, "step": 0.1},
        {"type": "float", "low": -0.3, "high": 0.3, "step": 0.1},
        {"type": "float", "low": 0.1, "high": 0.35},
        {"type": "int", "low": 1, "high": 9, "step": 3},
        {"type": "int", "low": 1, "high": 9, "log": True},
    ],
)
def test_a_variable_can_be_what_optuna_says(variable: dict[str, Any]) -> None:
    space = {"v": TypeAdapter(Variable).validate_python(variable)}
    theirs = distribution(space, "v")
    values = [0.1 * i for i in range(-4, 5)] + [0.1 + 0.1 * i for i in range(4)] + [0.3, 0.35]
    values += [0.3 + 1e-10, 0.3 - 1e-10, 0.31, *range(-1, 11)]
    for value in values:
        if variable["type"] == "float" or value == int(value):
            assert holds(space, "v", value) == theirs._contains(value), value
    assert all(holds(space, "v", value) for value in choices(space["v"]) or [])


def test_a_variant_may_keep_validation_out_of_pretraining() -> None:
    """It is judged on the test part, which stays the same."""
    final = {"beside": ["apart"], "variants": {"apart": {"data.pretrain_on_validation": False}}}
    parse_sweep({"name": "a", "space": LR, "final": final}, "a.yaml")


@pytest.mark.parametrize("path", sorted(PRESETS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_is_a_sweep_and_opens_with_its_command(path: Path) -> None:
    spec = load_sweep(path)  # draws from its space and builds each experiment
    where = path.relative_to(Path(__file__).parents[3])
    assert path.read_text().splitlines()[0] == f"# c2vl-sweep run {where}"
    assert spec.name in (path.stem, f"ablation_{path.stem}")


def test_a_copied_folder_is_not_taken_for_the_sweep_in_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = SweepFolder.of(tmp_path, name).path
        folder.mkdir(parents=True)
        (folder / "sweep.yaml").write_text(dump_sweep(parse_sweep({"name": "a", "space": LR}, "a")))
    assert read_sweep(tmp_path, "a").name == "a"
    with pytest.raises(UserError, match="is of the sweep a"):
        read_sweep(tmp_path, "b")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UserError, match=r"no such sweep.*there: a, b"):
        read_sweep(tmp_path, "../sweeps/a")
    with pytest.raises(UserError, match=r"no such sweep.*asked for, not its file"):
        read_sweep(tmp_path, str(SweepFolder.of(tmp_path, "a").settings))


def test_a_space_may_come_from_the_command_line_alone(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "name: a\nbase: {data: {store: s}, prompts: {language: l}}\nspace:\n"
    )
    spec = load_sweep(tmp_path / "a.yaml", ["space.optim.lr={type: float, low: 0.1, high: 1}"])
    assert list(spec.space) == ["optim.lr"]


def test_a_shorter_list_of_rows_leaves_variants_of_the_file_out() -> None:
    preset = Path("preset:noisy_pairs/noisy_07")
    assert list(load_sweep(preset, ["final.beside=[filtered, hard]"]).final.variants) == [
        "filtered"
    ]
    with pytest.raises(UserError, match="mine does not stand in final"):
        load_sweep(preset, ["final.beside=[filtered]", "final.variants.mine={}"])
