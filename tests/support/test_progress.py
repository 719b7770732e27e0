"""Progress in a log, on a terminal, and of the probes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
from rich import console as rich_console

from c2vl.probes.linear import STRENGTHS, counting, fit_chosen, most_fits
from c2vl.support import progress as module
from c2vl.support.progress import progress


def clock(monkeypatch: pytest.MonkeyPatch, times: Iterator[float]) -> None:
    monkeypatch.setattr(module.time, "monotonic", lambda: next(times))


def test_a_log_has_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock(monkeypatch, iter([0.0, 1.0, 16.0, 17.0, 40.0, 41.0]))
    with progress("files") as shown, progress("inner") as inner:
        inner(1, 1)
        for done in (1, 8, 9, 20):
            shown(done, 30)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "8 of 30 files, 0.5 a second, 44 s left",
        "20 of 30 files, 0.5 a second, 20 s left",
    ]
    with progress("files") as shown:  # the first one has ended
        assert shown is not module.silent


def test_a_terminal_has_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = partial(rich_console.Console, force_terminal=True, width=80)
    monkeypatch.setattr(rich_console, "Console", terminal)
    with progress("files") as shown:
        shown(3, 30)
    assert "3/30" in capsys.readouterr().err


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
