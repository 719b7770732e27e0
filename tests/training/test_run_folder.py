"""A run's folder as others read it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from c2vl.commands.train import train
from c2vl.config.reading import dump
from c2vl.skeletons.store import Store
from c2vl.support import files
from c2vl.support.errors import NotShared, StorageAway, UserError
from c2vl.support.remote import RemoteFolder
from c2vl.training import launch, mirror
from c2vl.training.run_folder import RunFolder
from tests.object_storage import Proxy
from tests.small import from_dict


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
            launch.fit(from_dict({}), run, name="a", shared=(str(mark), "this sweep"))
        with pytest.raises(NotShared):
            launch._train(job, print, 0, ())
        assert not run.exists()


def test_a_run_at_a_url_is_continued_on_another_machine(
    bucket: str,
    proxy: Proxy,
    experiment: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends with the bytes of a run in a folder, though the server was away in between."""
    settings, url, file = experiment(), f"{bucket}/runs/first", tmp_path / "experiment.yaml"
    file.write_text(dump(settings))
    launch.fit(settings, tmp_path / "whole", name="whole")

    def end_after_two(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch.fit(settings, url, name="first", on_report=end_after_two)
    there = RemoteFolder(url)
    assert len(there.read("metrics.jsonl").splitlines()) == 2
    assert "done.json" not in there.files() and there.files("checkpoints")

    monkeypatch.setenv("C2VL_CACHE", str(tmp_path / "another machine"))
    monkeypatch.setattr(mirror, "PATIENCE", 0.5)
    proxy.sick(503, 600)
    with pytest.raises(StorageAway, match="no answer"):
        launch.fit(settings, url, name="first")
    proxy.sick(503, 0)
    ran = CliRunner().invoke(train, [str(file), "--out", url], catch_exceptions=False)
    assert ran.exit_code == 0 and f"encoder: {url}/encoder" in ran.output, ran.output
    assert "epoch 3/3" in ran.output and "epoch 2/3" not in ran.output
    for name in ("encoder/encoder.safetensors", "experiment.yaml"):
        assert there.read(name) == (tmp_path / "whole" / name).read_bytes(), name
    assert "done.json" in there.files() and not there.files("checkpoints")
    with pytest.raises(UserError, match=f"{url}: holds a run with other settings"):
        launch.fit(experiment(train__epochs=4), url, name="first")


def test_a_run_takes_no_place_of_something_else(demo_store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds something else than a run"):
        RunFolder(demo_store.path).require_own()
    (file := tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match="is a file"):
        RunFolder(file).require_own()
    RunFolder(tmp_path).require_own()  # as the shell makes a log before the command starts
    (tmp_path / "thesis").mkdir()
    with pytest.raises(UserError, match=r"such as notes.txt"):
        RunFolder(tmp_path).require_own()
    RunFolder(tmp_path / "new").require_own()
    (tmp_path / "new" / "ray").mkdir(parents=True)
    RunFolder(tmp_path / "new").require_own()  # a start that was killed early
