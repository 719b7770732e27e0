"""docs/own-data.md, run as it is printed, on recordings of one person and of two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from c2vl.skeletons.store import Store
from tests.docs.pages import blocks, shell


@pytest.mark.ray
def test_from_raw_arrays_to_a_report(demo_store: Store, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for place, row in enumerate(demo_store.index.itertuples()):
        if row.label in (0, 5, 11) and row.camera == 1:  # the last is of two persons
            name = f"a{row.label:02}_s{row.subject:02}_t{row.replication}"
            np.save(tmp_path / "mine" / f"{name}.npy", demo_store.joints(place))
    commands = [
        command
        for block in blocks("docs/own-data.md")
        if block.language == "sh" and block.runs
        for _, command in block.commands()
    ]
    assert 8 <= len(commands) <= 15
    for command in commands:
        said = shell(command, tmp_path)
        if " init " in command:
            assert "c2vl data prepare folder mine runs/stores/mine\n" in said
            _make_small(tmp_path / "mine")
    bodies = Store.open(tmp_path / "runs/stores/mine").index["bodies"]
    assert set(bodies) == {1, 2}
    page = (tmp_path / "runs/sweeps/mine/report/index.html").read_text()
    assert "winner" in page and (tmp_path / "runs/exported/mine/encoder.json").exists()


def _make_small(folder: Path) -> None:
    """Look over the files, as the page says, and make the trainings short."""
    table = pd.read_csv(folder / "sequences.csv")
    table["label"] = table["label"].map({"a00": "wave", "a05": "sit", "a11": "hug"})
    assert table["label"].notna().all()
    table.to_csv(folder / "sequences.csv", index=False)
    for name, old, new in (
        ("experiment.yaml", "epochs: 60", "epochs: 2"),
        ("experiment.yaml", "evaluate_every: 20", "evaluate_every: 1"),
        ("experiment.yaml", "{feature: 128}", "{hidden: 4, feature: 16}"),
        ("experiment.yaml", "frames: 32", "frames: 16"),
        ("sweep.yaml", "trials: 10", "trials: 2"),
        ("sweep.yaml", "min_epochs: 20", "min_epochs: 1"),
        ("sweep.yaml", "seeds: [0, 1, 2]", "seeds: [0]"),
        ("sweep.yaml", "beside: [base, hard]", "protocols: [knn]"),
    ):
        text = (folder / name).read_text()
        assert text.count(old) == 1, old
        (folder / name).write_text(text.replace(old, new))
