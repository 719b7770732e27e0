"""Mistakes are told within a CPU second: before pandas or torch is imported or Ray starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from c2vl.prompts.table_writing import write_table
from c2vl.skeletons.store import Store
from tests.small import small_sweep


def _said(module: str, *words: str) -> tuple[str, set[str]]:
    """Return the message of a command that fails, and the modules that it imported."""
    command = [sys.executable, "-X", "importtime", "-m", module, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    imports = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    return "\n".join(line for line in lines if not line.startswith("import time:")), imports


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("temperature=0.07", 'did you mean "objective.temperature"?'),
        ("data.split=xsubb", 'data.split: "xsubb" is not known; did you mean "xsub"?'),
        ("prompts.language=nowhere", "prompts.language: nowhere: there is no language concept"),
        ("prompts.language=OTHER", "is of another store: none of its 2 names (a, …) is in"),
    ],
)
@pytest.mark.parametrize("module", ["c2vl", "sweeps"])
def test_mistakes_are_told_at_once(
    module: str, word: str, message: str, demo_store: Store, language: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    rows = np.ones((2, 1, 4), np.float32)
    write_table(other, ["a", "b"], rows, modality="language", model="test")
    values = small_sweep(demo_store.path, language)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(values if module == "sweeps" else values["base"]))
    words = ["run" if module == "sweeps" else "train", str(config)]
    words.append(word.replace("OTHER", str(other)))
    words.append(f"storage={tmp_path}" if module == "sweeps" else f"--out={tmp_path / 'run'}")
    said, imported = _said(module, *words)
    assert message in said
    # half a CPU second, 3 and 1; the whole takes .55 (train) and .7 (sweeps)
    assert "c2vl.config.reading" in imported and not imported & {"pandas", "torch", "ray"}
    assert not (tmp_path / "run").exists() and not (tmp_path / "sweeps").exists()
