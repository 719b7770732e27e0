"""The three console commands start fast, show examples, and say which extra is absent."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from c2vl.commands.main import c2vl
from c2vl.support.errors import UserError
from c2vl.support.extras import EXTRAS, require_extra, to_install
from tests.poison import run_without

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SCRIPTS: dict[str, str] = PROJECT["scripts"]
HEAVY = {"torch", "ray", "mlflow", "pandas", "transformers", "optuna", "scipy", "sklearn"}
HEAVY |= {"matplotlib", "pyarrow", "rich.progress", "sqlalchemy"}


@pytest.mark.parametrize("command", SCRIPTS)
def test_help_is_fast_and_shows_examples(command: str) -> None:
    """CPU time of the child, so that other work on the machine cannot fail it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [str(Path(sys.executable).with_name(command)), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    assert "Examples:" in done.stdout
    assert f"{command} " in done.stdout.partition("Examples:")[2]


@pytest.mark.parametrize("command", SCRIPTS)
def test_help_of_every_subcommand_imports_nothing_heavy(command: str) -> None:
    """Every command is built and asked for help where importing a heavy module raises."""
    module, _, _ = SCRIPTS[command].partition(":")
    program = f"""
import importlib
import click
from click.testing import CliRunner
module = importlib.import_module({module!r})
top = next(value for value in vars(module).values() if isinstance(value, click.Group))
def ask(group, words):
    result = CliRunner().invoke(top, [*words, "--help"])
    assert result.exit_code == 0, (words, result.output, result.exception)
    print(*words)
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            ask(group.get_command(context, name), [*words, name])
ask(top, [])
"""
    done = run_without(HEAVY, program)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 3


def numbers(command: click.Command, words: str) -> Iterator[tuple[str, click.ParamType]]:
    """Yield the options of a command, and of those below it, that take a number."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from numbers(below, f"{words} {name}")
    for option in command.params:
        if isinstance(option.type, type(click.INT) | type(click.FLOAT)):
            yield f"{words} {option.opts[0]}", option.type


def test_a_number_has_a_least_value() -> None:
    """Zero or fewer workers, frames or GPUs would be divided by, or wait for ever."""
    found = dict(numbers(c2vl, "c2vl"))
    assert len(found) > 30
    for words, kind in found.items():
        bounded_by_its_settings = words.startswith("c2vl evaluate")
        assert bounded_by_its_settings or getattr(kind, "min", None) is not None, words
    given = ["estimate", ".", "--crops-per-second", "10", "--captions-per-second", "20"]
    for option in ("--gpus", "--cpus", "--sequences", "--frames"):
        result = CliRunner().invoke(c2vl, ["prompts", *given, option, "0"])
        assert result.exit_code == 2 and "is not in the range x>=1" in result.output


def test_the_encoder_needs_torch_numpy_and_safetensors_alone() -> None:
    artefact = ROOT / "tests" / "encoder" / "artefacts" / "v1"
    program = f"""
import c2vl, numpy
encoder = c2vl.load_encoder({str(artefact)!r})
joints = numpy.random.default_rng(0).normal(size=(9, len(encoder.layout.joints), 3))
assert encoder.embed([joints]).shape == (1, encoder.feature_size)
"""
    done = run_without(HEAVY - {"torch"} | {"sweeps", "requests", "jinja2"}, program)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ("prompts video V O --dataset ntu", "video"),
        ("index E S O", "serving"),
        ("search E I --text words", "serving"),
        ("serve E", "serving"),
        ("export RUN OUT --format onnx", "onnx"),
    ],
)
def test_a_command_names_the_extra_that_is_absent(words: str, extra: str) -> None:
    """Before anything heavy: neither the extra's modules nor heavy ones can be imported."""
    names = words.split()
    program = f"sys.argv = ['c2vl', *{names!r}]; from c2vl.commands.main import main; main()"
    done = run_without(HEAVY | set(EXTRAS[extra]), program)
    assert done.returncode == 2, done.stderr
    assert f"pip install {to_install(extra)}" in done.stderr and ">=" in done.stderr
    assert EXTRAS[extra][0] in done.stderr and "Traceback" not in done.stderr


def test_extras_are_those_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    assert EXTRAS.keys() <= PROJECT["optional-dependencies"].keys()
    for extra in EXTRAS:
        require_extra(extra, "a test")  # all are installed for development
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"a test: needs av, .*pip install 'av>="):
        require_extra("video", "a test")


def test_every_script_and_locked_package_is_declared() -> None:
    """The lock holds one version of everything that pyproject.toml asks for."""
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(name for extra in extras for name in extra)]
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = [line.partition("==")[0].lower() for line in lines if not line.startswith("#")]
    assert len(locked) == len(set(locked))
    for requirement in wanted:
        name = requirement.partition(">")[0].partition("[")[0].lower()
        assert name in locked, f"{name}: not in requirements.lock"
    assert not [line for line in lines if "+" in line or "://" in line or "nvidia" in line]


@pytest.mark.parametrize(
    "words",
    [
        "serve E --port 70000",
        "serve E --port 0",
        "serve E --max-body nan",
        "serve E --max-body inf",
        "serve E --rate nan",
        "classify-fit E S O --split xsub --folds 1",
        "data demo O --subjects 0",
        "data demo O --subjects 100000",
        "data demo O --seed -1",
    ],
)
def test_numbers_out_of_range_are_refused_at_once(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(c2vl, words.split())
    assert result.exit_code == 2 and "Invalid value for" in result.output, result.output
    assert not list(tmp_path.iterdir())


def test_an_address_of_storage_becomes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(c2vl, ["evaluate", "linear", "E", "S", "--out", "s3://lab/rows"])
    assert done.exit_code == 2 and "s3://lab/rows: storage by address" in done.output
    assert not list(tmp_path.iterdir())


LOOP = """
import click, pathlib, sys, rich.console
from c2vl.support.command_line import run
@click.command()
def work():
    for number in range(3):
        rich.console.Console().print("x" * 10000)
        click.echo("y")
        print(number, file=sys.stderr)
    pathlib.Path(sys.argv[1]).touch()
run(work, "c2vl")
"""


@pytest.mark.parametrize("place", ["closed pipe", "full disk"])
def test_work_goes_on_when_nobody_takes_its_output(place: str, tmp_path: Path) -> None:
    """As by ``| head -1``. A full disk is told at the end; both streams are lost in turn."""
    reading, writing = os.pipe()
    os.close(reading)
    out = writing if place == "closed pipe" else os.open("/dev/full", os.O_WRONLY)
    done = tmp_path / "done"
    command = [sys.executable, "-c", LOOP.replace("sys.argv[1]", repr(str(done)))]
    try:
        kept = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
        assert done.exists() and "Traceback" not in kept.stderr
        done.unlink()
        both = subprocess.run(command, stdout=out, stderr=out, check=False)
        assert done.exists()
    finally:
        os.close(writing)
        if out != writing:
            os.close(out)
    assert kept.returncode == both.returncode == (0 if place == "closed pipe" else 2)
    assert ("c2vl: standard output: No space left" in kept.stderr) == (place == "full disk")
