"""The command line that a submission runs, and what is sent along."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from c2vl.support.errors import UserError
from cluster import jobs
from cluster.commands import logs, preflight, status, submit


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code" / "presets").mkdir(parents=True)
    (tmp_path / "code" / "presets" / "a sweep.yaml").write_text("name: a\n")
    return tmp_path / "code"


def run(submission: jobs.Submission, code: Path, tmp_path: Path) -> list[str]:
    """Run the entrypoint as Ray does, with stand-ins that tell where and how they were called."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("python", "c2vl-sweep"):
        tool = bin_folder / name
        tool.write_text(f'#!/bin/sh\necho "{name}|$PWD|$*|$PYTHONPATH"\n')
        tool.chmod(0o755)
    done = subprocess.run(
        submission.entrypoint,
        shell=True,
        cwd=code,
        env={"PATH": f"{bin_folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_on_this_machine_nothing_is_copied(code: Path, tmp_path: Path) -> None:
    sweep, root = code / "presets" / "a sweep.yaml", tmp_path / "shared folder"
    submission = jobs.sweep_submission(sweep, ["name=x y"], root, upload=None, preflight=True)
    assert submission.runtime_env() == {}
    assert run(submission, code, tmp_path) == [
        f"python|{root}|-m cluster.preflight .|",
        f"c2vl-sweep|{root}|run {sweep} name=x y|",
    ]


def test_elsewhere_the_code_goes_along_and_the_root_is_shared(code: Path, tmp_path: Path) -> None:
    root = tmp_path / "shared"
    submission = jobs.sweep_submission(
        code / "presets" / "a sweep.yaml", [], root, upload=code, preflight=False
    )
    environment = submission.runtime_env()
    assert environment["working_dir"] == str(code)
    assert {".git", ".venv", "runs"} <= set(environment["excludes"])
    assert run(submission, code, tmp_path) == [
        f"c2vl-sweep|{root}|run {code}/presets/a sweep.yaml|{code}:"
    ]


def test_a_missing_sweep_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: no such sweep file"):
        jobs.sweep_submission(tmp_path / "none.yaml", [], tmp_path, upload=None, preflight=True)


def test_a_sweep_file_outside_of_what_is_sent(code: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_text("")
    with pytest.raises(UserError, match=r"outside\.yaml: not inside .*copy it there"):
        jobs.sweep_submission(outside, [], tmp_path, upload=code, preflight=True)


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    return tmp_path


def test_no_cluster_says_how_to_get_one(empty_folder: Path) -> None:
    result = CliRunner().invoke(status, [])
    assert isinstance(result.exception, UserError)
    assert "c2vl-cluster up" in str(result.exception)


def test_an_address_that_is_none_is_named(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.auth, "enable", lambda: None)  # it lasts as long as the process
    result = CliRunner().invoke(logs, ["job", "--address", "foo"])
    assert isinstance(result.exception, jobs.Unreachable)
    assert "--address: foo is no address" in str(result.exception)


@pytest.mark.parametrize("root", [[], ["--root", "relative"]])
def test_a_cluster_elsewhere_needs_a_shared_folder(empty_folder: Path, root: list[str]) -> None:
    for command, words in ((submit, ["sweep.yaml"]), (preflight, [])):
        result = CliRunner().invoke(command, [*words, "--address", "http://head:8265", *root])
        assert isinstance(result.exception, UserError)
        assert "--root" in str(result.exception)


def test_no_password_gets_into_the_list_of_jobs(code: Path, tmp_path: Path) -> None:
    sweep = code / "presets" / "a sweep.yaml"
    for words in ("study=postgresql://me:s3cret@db/x", "tracking.uri=http://me:s3cret@mlflow:5000"):
        with pytest.raises(UserError, match=r"has a password.*write it into .*a sweep\.yaml") as no:
            jobs.sweep_submission(sweep, [words], tmp_path, upload=None, preflight=True)
        assert "s3cret" not in str(no.value)
    words = "tracking.uri=http://me@mlflow:5000/a:b?x=1"
    with pytest.raises(UserError, match=r"tracking\.uri: has a password"):  # a user alone: a token
        jobs.sweep_submission(sweep, [words], tmp_path, upload=None, preflight=True)
    words = "tracking.uri=sqlite:////a:b@c/mlflow.db"
    submission = jobs.sweep_submission(sweep, [words], tmp_path, upload=None, preflight=True)
    assert words in submission.entrypoint
