"""The worked example, from outside the package: copied elsewhere, run by its commands."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cluster import local
from cluster.state import STATE_FILE
from tests import shell

pytestmark = [pytest.mark.ray, pytest.mark.mlflow, pytest.mark.timeout(480)]

EXAMPLES = Path(__file__).parents[2] / "examples"
RELOAD = """
from c2vl.encoder import load_encoder
from c2vl.registry import import_modules
import_modules(["my_backbone.py"])
print("features:", load_encoder("exported-best").feature_size)
"""


def test_each_part_is_short() -> None:
    for path in EXAMPLES.glob("my_*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 40, path


@pytest.mark.parametrize(
    "nodes",
    [pytest.param(0, id="here"), pytest.param(2, id="on two nodes", marks=pytest.mark.slow)],
)
def test_dataset_training_sweep_export_and_reload(nodes: int, tmp_path: Path) -> None:
    here, home = tmp_path / "mine", tmp_path / "home"
    shutil.copytree(EXAMPLES, here, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    home.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"HOME": str(home), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def call(*words: str, rc: int = 0, **extra: str) -> str:
        return shell.call(*words, cwd=here, env=env | extra, rc=rc)

    call("python", "record.py", "recordings")
    store = ("recordings", "runs/stores/mine", "--imports", "my_dataset.py")
    assert "60 sequences of Three joints" in call("c2vl", "data", "prepare", "three-joints", *store)
    assert "model.layers=1" in call("c2vl", "settings", "experiment.yaml")
    assert "mine epoch 6/6  loss" in call("c2vl", "train", "experiment.yaml")

    run, asked = "runs/train/mine", ("runs/stores/mine", "--split", "loso:4")
    said = call("c2vl", "evaluate", "knn", f"{run}/encoder", *asked, rc=2)
    assert "needs backbone gru" in said and "my_backbone.py" in said
    known = {"C2VL_IMPORTS": str(here / "my_backbone.py")}
    call("c2vl", "evaluate", "knn", f"{run}/encoder", *asked, **known)

    if not nodes:
        said = call("c2vl-sweep", "run", "sweep.yaml")
    else:
        try:
            port = str(shell.free_port())
            call("c2vl-cluster", "up", "--nodes", str(nodes), "--dashboard-port", port)
            said = call("c2vl-cluster", "submit", "sweep.yaml")
        finally:
            local.down(here / STATE_FILE)
    assert "models:/mine@best" in said, said
    call("c2vl-sweep", "export", "mine", "exported-best", **known)
    assert "features: 32" in call("python", "-c", RELOAD)
    call("c2vl", "embed", "exported-best", "runs/stores/mine", "features.parquet", **known)
    assert (here / "features.parquet").exists()
