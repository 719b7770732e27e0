"""A run's folder as others read it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from c2vl.config.experiment import Experiment
from c2vl.support import files
from c2vl.support.errors import NotShared
from c2vl.training import launch
from c2vl.training.run_folder import RunFolder


@pytest.mark.parametrize("end", ["\n", "", '\n{"epoch": 4, "seco', '\n{"epoch": 4, "seconds": 1.5'])
def test_a_table_of_figures_is_what_the_rows_say(end: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.table(["seconds"]).shape == (0, 1)
    rows = [
        {"epoch": 1, "loss": 2.5, "loss_vision": 1e-7, "seconds": 3},
        {"epoch": 2, "loss": math.nan, "loss_vision": -math.inf, "seconds": 0.25, "knn_val": 0.5},
        {"epoch": 3, "knn_val": 1.0, "loss": -1.5e300, "loss_vision": 0.0, "seconds": 4.0},
    ]
    run.metrics.write_text("\n".join(map(json.dumps, rows)) + end)
    names = ["loss", "epoch", "knn_val", "seconds", "never"]
    wanted = [[row.get(name, math.nan) for name in names] for row in run.rows()]
    assert np.array_equal(run.table(names), wanted, equal_nan=True) and len(wanted) == 3


def test_a_process_that_does_not_see_the_shared_folder_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the trial's own nor a worker's, which may be on another node."""
    monkeypatch.setattr(files, "NETWORK_SECONDS", 0.0)
    mark, run = tmp_path / "id", tmp_path / "run"
    job = {"experiment": {}, "folder": str(run), "shared": (str(mark), "this sweep")}
    for there in (None, "another sweep"):
        if there is not None:
            mark.write_text(there)
        with pytest.raises(NotShared, match=r"node .*mount the same folder"):
            launch.fit(Experiment(), run, name="a", shared=(str(mark), "this sweep"))
        with pytest.raises(NotShared):
            launch._train(job, print, 0, ())
        assert not run.exists()
