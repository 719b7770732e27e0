"""What ``c2vl train`` says when it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from c2vl.commands.main import c2vl
from c2vl.skeletons.store import Store
from c2vl.training.run_folder import RunFolder

DEMO = Path(__file__).parents[2] / "c2vl" / "presets" / "demo.yaml"


@pytest.mark.parametrize("saved", [False, True])
def test_stopped_with_and_without_a_checkpoint(
    saved: bool,
    demo_store: Store,
    language: Path,
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
    words = [f"data.store={demo_store.path}", f"prompts.language={language}"]
    words += ["data.validation_folds=2", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(c2vl, ["train", str(DEMO), *words])
    said = "from the last checkpoint" if saved else "starts anew"
    assert f"stopped; the same command {'continues ' if saved else ''}{said}" in str(
        result.exception
    )
