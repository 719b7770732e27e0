"""What a sweep shows while it runs, on a terminal of 80 columns."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from c2vl.config.experiment import Experiment
from sweeps.running.progress import Board
from sweeps.spec.objective import Objective
from sweeps.spec.training import End, Training


def test_the_display_fits_eighty_columns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    experiment = Experiment.model_construct(train=Experiment.model_fields["train"].get_default())
    names = [f"demo-final-{number:04}-s1" for number in range(7)]
    trainings = [Training(name, experiment, tmp_path / name) for name in names]
    objective = Objective(metric="linear_val", direction="maximize")
    board = Board("demo", 40, Counter(), objective, 0.71234, [20, 60])
    for training in trainings[:6]:
        board.started(training, 1)
        board.reported(training, {"epoch": 25})
    board.ended(trainings[0], End("pruned", {}))
    board.started(trainings[6], 1)
    shown = Console(file=(text := io.StringIO()), width=80, force_terminal=False)
    shown.print(board._bar._bar.get_renderable())
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80 and "1/40" in lines[0] and "best 0.7123" in lines[0]
    assert "left" in lines[0] and "…" not in text.getvalue()
    assert "epoch 25/120 rung 1/2" in lines[1] and "and 2 more" in lines[5]


def test_the_line_counts_epochs_and_no_reference_is_best(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A supervised reference scores labels that it was trained on."""
    experiment = Experiment.model_construct(train=Experiment.model_fields["train"].get_default())
    now = [0.0]
    monkeypatch.setattr("sweeps.running.progress.time.monotonic", lambda: now[0])
    board = Board("small", 3, Counter(), Objective(metric="linear_val", direction="maximize"))
    for number, (kind, value) in enumerate([("trial", 0.8), ("final", 1.0), ("final", 0.0)]):
        training = Training(f"small-{number}", experiment, tmp_path / str(number), kind=kind)
        rows = [{"epoch": 1, "linear_val": value}]
        monkeypatch.setattr(Training, "rows", lambda _, rows=rows: rows)
        board.started(training, 1)
        now[0] += 100.0
        if number < 2:
            board.ended(training, End("complete", {}))
        else:
            board.reported(training, {"epoch": 90})
    assert "best linear_val 0.8000" in board.line()
    assert "about 25 s left" in board.line()
