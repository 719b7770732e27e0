"""Outputs that cannot be written: one message, before the work, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from c2vl.cli import c2vl
from c2vl.errors import UserError
from c2vl.skeletons.store import Store
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
    values = {"name": "x", "data": {"store": str(demo_store.path), "frames": 16}}
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
