"""Outputs that cannot be written: one message, before the work, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from c2vl.commands.main import c2vl
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from c2vl.support.files import replacing_folder
from tests.protocols.conftest import encoder_folder

__all__ = ["encoder_folder"]  # a fixture of the tests of protocols, used here too

COMMANDS = {
    "demo": "data demo OUT",
    "kept raw files": "data demo NEW/store --keep-raw OUT",
    "prepare": "data prepare demo RAW OUT",
    "view": "data view STORE 0 OUT.gif",
    "prompts": "prompts kinematic STORE OUT",
    "export": "export ENCODER OUT",
    "embed": "embed ENCODER STORE OUT.parquet",
    "classify-fit": "classify-fit ENCODER STORE OUT --split xsub",
    "index": "index ENCODER STORE OUT",
    "evaluate": "evaluate knn ENCODER STORE --split xsub --out OUT",
    "pictures": "evaluate pictures ENCODER STORE OUT --split xsub",
    "train": "train EXPERIMENT --out OUT",
}


def refused(words: str) -> str:
    result = CliRunner().invoke(c2vl, words.split())
    assert isinstance(result.exception, UserError), (result.output, result.exception)
    return str(result.exception)


@pytest.fixture
def places(
    demo_store: Store, demo_raw: Path, encoder_folder: Path, language: Path, tmp_path: Path
) -> dict[str, Path]:
    """What stands for the capital words of a command."""
    data = {"store": str(demo_store.path), "frames": 16, "validation_folds": 2}
    values = {"name": "x", "data": data}
    values["prompts"] = {"language": str(language), "per_sample": 3}
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(values))
    return {
        "STORE": demo_store.path,
        "RAW": demo_raw,
        "ENCODER": encoder_folder,
        "EXPERIMENT": path,
        "NEW": tmp_path / "new",
    }


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("where", ["file", "proc"])
def test_a_place_that_cannot_be(
    command: str,
    where: str,
    places: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = COMMANDS[command]
    (tmp_path / "afile").write_text("something")
    before = sorted(tmp_path.rglob("*"))
    out = {"file": tmp_path / "afile" / "x", "proc": Path("/proc/x")}[where]
    for name, path in (places | {"OUT": out}).items():
        words = words.replace(name, str(path))
    monkeypatch.chdir(tmp_path)

    def worked(*_: object) -> None:
        raise AssertionError("it worked before it looked where to write")

    monkeypatch.setattr("c2vl.encoder.network.Encoder.embed_clips", worked)
    monkeypatch.setattr("c2vl.skeletons.demo.store.generate", worked)
    said = refused(words)
    assert "cannot be written (" in said and str(out.parent) in said
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "afile").read_text() == "something"


def test_what_is_there_stays(places: dict[str, Path], tmp_path: Path) -> None:
    """Features go into a Parquet file alone, and over another one when that is asked for."""
    out = tmp_path / "features.parquet"
    command = f"embed {places['ENCODER']} {places['STORE']} "
    assert "give OUT.parquet" in refused(command + str(tmp_path / "features.csv"))
    for more, code in (("", 0), ("", 1), (" --overwrite", 0)):
        result = CliRunner().invoke(c2vl, f"{command}{out}{more}".split())
        assert result.exit_code == code, result.output
    assert "add --overwrite to replace it" in refused(command + str(out))


@pytest.mark.parametrize("command", ["export", "classify-fit", "index"])
def test_a_folder_of_something_else_is_not_replaced(
    command: str, places: dict[str, Path], tmp_path: Path
) -> None:
    """``export demo runs --overwrite`` must not cost anybody all sweeps."""
    words = COMMANDS[command] + " --overwrite"
    precious = tmp_path / "runs" / "precious"
    precious.mkdir(parents=True)
    for name, path in (places | {"OUT": precious.parent}).items():
        words = words.replace(name, str(path))
    assert "holds something else" in refused(words)
    assert precious.exists()


@pytest.mark.parametrize(
    ("command", "inside"),
    [
        ("train", "STORE/cache/x"),
        ("train", "STORE/data-x"),
        ("embed", "ENCODER/x"),
        ("export", "RUN/checkpoints/x"),
        ("prompts", "LANGUAGE/x"),
        ("prepare", "LANGUAGE/x"),
        ("prompts", "STORE"),
        ("prepare", "LANGUAGE"),
    ],
)
def test_nothing_is_written_into_what_is_replaced(
    command: str, inside: str, places: dict[str, Path], language: Path, tmp_path: Path
) -> None:
    """A table in place of a store would cost the store; a run in its cache would not last."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").touch()
    places |= {"LANGUAGE": language, "RUN": tmp_path / "run"}
    words = COMMANDS[command].replace("OUT", inside)
    for name, path in places.items():
        words = words.replace(name, str(path))
    before = {path: sorted(path.rglob("*")) for path in places.values()}
    said = refused(words + ("" if command == "train" else " --overwrite"))
    assert "which other commands replace" in said or "give another OUT" in said
    assert {path: sorted(path.rglob("*")) for path in places.values()} == before


def test_a_file_that_cannot_be_read_meanwhile_is_the_one_named(tmp_path: Path) -> None:
    missing = tmp_path / "source" / "rows.csv"
    with pytest.raises(UserError) as error, replacing_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
        missing.read_text()
    assert str(error.value) == f"{missing}: No such file or directory"
    for place in ("out", "out/deeper"):
        match = pytest.raises(UserError, match="out: cannot be written")
        with match, replacing_folder(tmp_path / "out") as folder:
            (folder / place / "b").write_text("1")
    assert list(tmp_path.iterdir()) == []


def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    temporary, out = tmp_path / "temporary", tmp_path / "store"
    temporary.mkdir()
    command = [sys.executable, "-m", "c2vl", "data", "demo", str(out)]
    with subprocess.Popen(command, env=os.environ | {"TMPDIR": str(temporary)}) as process:
        deadline = time.monotonic() + 60
        while not list(temporary.rglob("*.skeleton")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.terminate()
    assert process.returncode == 143
    assert list(temporary.iterdir()) == [] and not out.exists()
