"""The notebook runs top to bottom on a finished sweep, and shows what it says."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "compare_sweep.ipynb"


@pytest.mark.ray
@pytest.mark.mlflow
def test_compare_sweep(finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    storage, _ = finished
    monkeypatch.setenv("C2VL_SWEEP", "small")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # it is kept without outputs
    resources = {"metadata": {"path": str(storage.parent)}}
    NotebookClient(notebook, timeout=200, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    tables = [o["data"]["text/html"] for o in outputs if "text/html" in o.get("data", {})]
    assert len(pictures) == 3
    assert len(tables) == 5
    sweeps, trials, which_differ, test, _ = tables
    assert "small" in sweeps and "val/knn" in trials
    assert "small-0001" in trials and "pruned" in trials
    assert "optim.lr" in which_differ and "train.epochs" not in which_differ
    assert "winner" in test and "captions" in test
