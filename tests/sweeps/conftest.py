"""A sweep that was run once, for all tests that look at a finished one and leave it as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def finished(
    sweep_file: Path, c2vl_sweep: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The storage of a finished sweep with final seeds, and what was printed."""
    cwd = tmp_path_factory.mktemp("finished")
    words = ["final.seeds=[0,1]", "final.beside=[base,hard,supervised,captions,joints]"]
    out = c2vl_sweep("run", sweep_file, *words, cwd=cwd).stdout
    return cwd / "runs", out
