"""Our own parts are found wherever the code is; another module's by its import."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import c2vl.registry as registry
from c2vl.support.errors import UserError

ROOT = Path(registry.__file__).parents[1]


def test_every_kind_has_parts_of_ours() -> None:
    assert set(registry.OURS) == set(registry.KINDS)
    for kind in registry.KINDS:
        assert registry.names(kind)


def test_code_without_its_installation_finds_its_parts(tmp_path: Path) -> None:
    """A model of MLflow's and a job of Ray's bring the package's folder and no metadata."""
    shutil.copytree(ROOT / "c2vl", tmp_path / "c2vl", ignore=shutil.ignore_patterns("*.pyc"))
    program = (
        "import importlib.metadata as m, sys; sys.path.insert(0, sys.argv[1])\n"
        "m.entry_points = lambda **_: []\n"
        "import c2vl.registry as r; assert r.__file__.startswith(sys.argv[1])\n"
        "print(*[name for kind in r.KINDS for name in r.names(kind)])"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"stgcn", "c2vl", "cosine", "sgd", "linear", "ntu60"} <= set(done.stdout.split())


def test_a_name_belongs_to_one_module(tmp_path: Path) -> None:
    part = tmp_path / "taken.py"
    part.write_text("from c2vl.registry import register\nregister('backbone', 'stgcn', object)\n")
    registry.names("backbone")
    with pytest.raises(UserError, match="stgcn"):
        registry.import_modules([str(part)])
    with pytest.raises(UserError, match="nowhere"):
        registry.import_modules(["nowhere.py"], base=tmp_path)
    with pytest.raises(UserError, match="did you mean"):
        registry.find("backbone", "stgcm")
