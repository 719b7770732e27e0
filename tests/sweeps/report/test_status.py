"""What is asked of a sweep again and again: cheap, and the same as its folders say in full."""

from __future__ import annotations

from pathlib import Path

from c2vl.training.run_folder import RunFolder
from tests.benchmarks.finished_sweep import make
from tests.poison import run_without

HEAVY = ("ray", "torch", "mlflow", "scipy", "pandas", "pyarrow", "matplotlib", "optuna", "alembic")


def test_looking_at_a_sweep_imports_nothing_heavy(tmp_path: Path) -> None:
    spec = make(tmp_path, 3, epochs=7, evaluate_every=2, tracked=False)
    storage = str(spec.storage)
    program = f"""
from sweeps.commands.inspecting import best, compare, list_, status, watch
for command, *words in (
    (list_,), (status, "synthetic"), (best, "synthetic"), (watch, "synthetic"),
    (compare, "synthetic-0000", "synthetic-0002"),
):
    command.main([*words, "--storage", {storage!r}], standalone_mode=False)
"""
    done = run_without(HEAVY, program)
    assert done.returncode == 0, done.stderr
    last = RunFolder(spec.folder.trials / "synthetic-0002").rows()[-1]["linear_val"]
    assert f"{last:.4g}" in done.stdout
    assert done.stdout.count("could tell settings apart is not known") == 2  # status, best
    assert "differs from the base: " in done.stdout and "3/3 ended" in done.stdout
