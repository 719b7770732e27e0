"""The notebook runs top to bottom on a sweep, and shows what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "compare_sweep.ipynb"


@pytest.mark.ray
@pytest.mark.mlflow
def test_compare_sweep(
    sweep_file: Path,
    c2vl_sweep: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    c2vl_sweep("run", sweep_file, "trials=2", "points=[]", cwd=tmp_path)
    monkeypatch.setenv("C2VL_SWEEP", "small")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # it is kept without outputs
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=200, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    tables = [output for output in outputs if "text/html" in output.get("data", {})]
    assert len(pictures) == 2
    assert len(tables) == 3
    assert "small-0000" in tables[0]["data"]["text/html"]
