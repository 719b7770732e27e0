"""What ``c2vl train`` says when it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from c2vl.commands.main import c2vl
from c2vl.training.run_folder import RunFolder


@pytest.mark.parametrize("saved", [False, True])
def test_stopped_with_and_without_a_checkpoint(
    saved: bool,
    sweep_values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(_: object, folder: Path, **others: Any) -> None:
        checkpoints = RunFolder(folder).checkpoints
        checkpoints.mkdir(parents=True)
        if saved:
            (checkpoints / "step-00000004.pt").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("c2vl.training.launch.fit", stopped)
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump({"name": "mine", **sweep_values["base"]}))
    result = CliRunner().invoke(c2vl, ["train", str(file), "--out", str(tmp_path / "run")])
    said = "from the last checkpoint" if saved else "starts anew"
    assert f"stopped; the same command {'continues ' if saved else ''}{said}" in str(
        result.exception
    )
