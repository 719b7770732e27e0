"""The command line that a submission runs, and what is sent along."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from c2vl.support.errors import UserError
from cluster import jobs
from cluster.commands import logs, preflight, status, submit


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep file with a base experiment elsewhere, which imports a part of the user's own."""
    folder = tmp_path / "my sweeps"
    (folder / "base").mkdir(parents=True)
    (folder / "base" / "part.py").write_text("")
    (folder / "base" / "base.yaml").write_text("imports: [part.py, os]\nseed: 3\n")
    (folder / "a sweep.yaml").write_text("name: a\nbase: base/base.yaml\nspace: {}\n")
    return folder / "a sweep.yaml"


def run(submission: jobs.Submission, cwd: Path, tmp_path: Path) -> list[str]:
    """Run the entrypoint as Ray does, with a stand-in that tells where and how it was called."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    tool = bin_folder / "python"
    tool.write_text('#!/bin/sh\necho "$PWD|$*|$PYTHONPATH"\n')
    tool.chmod(0o755)
    done = subprocess.run(
        submission.entrypoint,
        shell=True,
        cwd=cwd,
        env={"PATH": f"{bin_folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_on_this_machine_nothing_is_sent(sweep: Path, tmp_path: Path) -> None:
    root = tmp_path / "shared folder"
    command = jobs.sweep_command(f"'{sweep}'", ["name=x y"])
    submission = jobs.running(root, "python -m cluster.preflight .", command)
    environment = submission.runtime_env()
    assert environment.keys() == {"env_vars"}
    # a stopped sweep ends its epochs and tells MLflow before Ray kills it
    assert int(environment["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) >= 600
    assert run(submission, tmp_path, tmp_path) == [
        f"{root}|-m cluster.preflight .|",
        f"{root}|-m sweeps run {sweep} name=x y|",
    ]


def test_elsewhere_a_sweep_goes_with_what_it_names(sweep: Path, tmp_path: Path) -> None:
    root, sent = tmp_path / "shared", tmp_path / "sent"
    sent.mkdir()
    jobs.pack(sent, code=False, sweep=sweep)
    assert {path.name for path in sent.iterdir()} == {"sweep.yaml", "import0_part.py"}
    values = yaml.safe_load((sent / "sweep.yaml").read_text())
    assert values["base"] == {"imports": ["import0_part.py", "os"], "seed": 3}
    submission = jobs.running(root, jobs.sweep_command('"$sent"/sweep.yaml', []), sent=sent)
    assert submission.runtime_env()["working_dir"] == str(sent)
    assert run(submission, sent, tmp_path) == [f"{root}|-m sweeps run {sent}/sweep.yaml|{sent}:"]


def test_the_code_goes_without_what_lies_beside_it(sweep: Path, tmp_path: Path) -> None:
    jobs.pack(tmp_path / "sent", code=True, sweep=Path("preset:debug"))
    sent = {path.name for path in (tmp_path / "sent").iterdir()}
    assert sent == {"c2vl", "sweeps", "cluster", "sweep.yaml"}
    assert sum(path.stat().st_size for path in (tmp_path / "sent").rglob("*")) < 10 * 2**20


def test_what_is_too_large_is_named(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MAX_BYTES", 2**20)
    (sweep.parent / "base" / "part.py").write_text("#" * 2**21)
    (tmp_path / "sent").mkdir()
    with pytest.raises(UserError, match=r"2 MiB, and Ray takes 1; .*import0_part\.py \(2 MiB\)"):
        jobs.pack(tmp_path / "sent", code=False, sweep=sweep)


def test_a_missing_sweep_file_is_named(tmp_path: Path) -> None:
    sweep = tmp_path / "a.yaml"
    sweep.write_text("base: {imports: [gone.py]}\n")
    for name, message in (
        ("none.yaml", r"none\.yaml"),
        ("preset:x", "preset:x: no such preset"),
        (sweep, r"imports: .*gone\.py: no such file"),
    ):
        with pytest.raises(UserError, match=message):
            jobs.pack(tmp_path, code=False, sweep=Path(name))


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


def test_a_cluster_elsewhere_needs_a_shared_folder(empty_folder: Path) -> None:
    elsewhere = ["--address", "http://head:8265"]
    for command, words in (
        (submit, ["sweep.yaml", "--root", "relative"]),
        (preflight, ["--root", "relative"]),
        (preflight, []),
    ):
        result = CliRunner().invoke(command, [*words, *elsewhere])
        assert isinstance(result.exception, UserError)
        assert "--root" in str(result.exception)
    # without one the sweep's own paths must name it: Ray's cache of what is sent is refused
    assert jobs.running(None, "exec true").entrypoint == "exec true"


def test_no_password_gets_into_the_list_of_jobs_or_the_nodes_caches(
    sweep: Path, tmp_path: Path
) -> None:
    with sweep.open("a") as file:
        file.write("tracking: {uri: 'http://me:s3cret@mlflow:5000'}\n")
    with pytest.raises(UserError, match=r"tracking\.uri: has a password.*MLFLOW_TRACKING_PASSWORD"):
        jobs.pack(tmp_path, code=False, sweep=sweep)
    for words in ("study=postgresql://me:s3cret@db/x", "tracking.uri=http://me:s3cret@mlflow:5000"):
        with pytest.raises(UserError, match=r"has a password.*PGPASSWORD") as no:
            jobs.sweep_command("a.yaml", [words])
        assert "s3cret" not in str(no.value)
    words = "tracking.uri=http://me@mlflow:5000/a:b?x=1"
    with pytest.raises(UserError, match=r"tracking\.uri: has a password"):  # a user alone: a token
        jobs.sweep_command("a.yaml", [words])
    words = "tracking.uri=sqlite:////a:b@c/mlflow.db"
    assert words in jobs.sweep_command("a.yaml", [words])
