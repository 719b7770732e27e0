"""Progress in a log, on a terminal, and of the probes."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
from rich import console as rich_console

from c2vl.probes.linear import STRENGTHS, counting, fit_chosen, most_fits
from c2vl.support import progress as module
from c2vl.support.progress import progress


def test_a_log_has_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with progress("files") as shown, progress("inner") as inner:
        inner(1, 1)
        for now, done in ((1.0, 1), (16.0, 8), (17.0, 9), (41.0, 20), (60.0, 30)):  # noqa: B007
            shown(done, 30)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [  # 7 files in the 15 s after the first
        "8 of 30 files, 47 s left",
        "20 of 30 files, 21 s left",
        "30 of 30 files",
    ]
    with progress("files") as shown:  # the first one has ended
        assert shown is not module.silent


def test_a_terminal_has_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = partial(rich_console.Console, force_terminal=True, width=80)
    monkeypatch.setattr(rich_console, "Console", terminal)
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with progress("sequences preprocessed") as shown:
        for now, done in ((1.0, 3), (3601.0, 113_000)):  # noqa: B007
            shown(done, 500_000)
    *_, line = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", capsys.readouterr().err).split("\r")[:-1]
    line = line.rstrip()
    assert len(line) <= 80 and line.endswith(" 113000/500000 0:00:00 3 h 25 min left")


def test_probes_are_counted_to_the_end() -> None:
    draw = np.random.default_rng(0)
    labels = np.arange(60) % 3
    rows = (draw.normal(size=(60, 4)) + 2 * labels[:, None]).astype(np.float32)
    fold = np.arange(60) // 3 % 4
    told: list[tuple[int, int]] = []
    most = most_fits(fold)
    assert most == 4 * len(STRENGTHS) + 1
    fitted = counting(lambda *at: told.append(at), most)
    fit_chosen(rows, labels, fold, classes=3, fitted=fitted)
    assert told == [(done, most) for done in range(1, len(told) + 1)]
    assert 4 < len(told) <= most
