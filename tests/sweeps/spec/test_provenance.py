"""Which code a sweep ran on: from a clone, from a wheel, within another repository."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.spec import provenance

ROOT = Path(__file__).parents[3]
ASK = (
    "import json; from pathlib import Path; from sweeps.spec import provenance, reading;"
    "reading.load_sweep(Path('preset:debug'));"
    "print(json.dumps([provenance.__file__, provenance.code()]))"
)


def call(*words: str, cwd: Path, **env: str) -> str:
    """Run a command; return its output."""
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel installs, in a folder of its own within somebody's repository."""
    there = tmp_path_factory.mktemp("theirs") / "lib"
    call(sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(there), cwd=ROOT)
    git = ("git", "-c", "user.name=me", "-c", "user.email=me@lab")
    call(*git, "init", "-q", cwd=there.parent)
    call(*git, "commit", "-q", "--allow-empty", "-m", "theirs", cwd=there.parent)
    return there


def test_a_wheel_brings_presets_pages_lock_and_commit(wheel: Path) -> None:
    def ask() -> dict[str, str]:
        file, code = json.loads(
            call(sys.executable, "-c", ASK, cwd=wheel.parent, PYTHONPATH=str(wheel))
        )
        assert file.startswith(str(wheel))
        return dict(code)

    clone = provenance.code()
    assert ask() == clone
    assert all(len(digest) == 64 for key, digest in clone.items() if key != "git_commit")
    if (ROOT / ".git").exists():
        assert len(clone["git_commit"].removesuffix("-dirty")) == 40
    brought = wheel / "c2vl/_installed"
    assert (brought / "docs/sweeps.md").exists() and (brought / "README.md").exists()
    assert (wheel / "cluster/slurm/sweep.sbatch").exists()
    (brought / "build.json").unlink()
    (wheel / "sweeps/driver.py").write_text("changed")
    changed = ask()
    assert changed["git_commit"] == ""  # not that of the repository around it
    assert changed["code_sha256"] != clone["code_sha256"]
    for package in ("sweeps", "cluster"):
        command = (sys.executable, "-m", package, "--help")
        assert "Examples:" in call(*command, cwd=wheel, PYTHONPATH=str(wheel))


def test_code_that_is_sent_with_a_job_says_the_same(tmp_path: Path) -> None:
    provenance.copy_code(tmp_path)
    command = (sys.executable, "-c", ASK)
    file, code = json.loads(call(*command, cwd=tmp_path, PYTHONPATH=str(tmp_path)))
    assert (file.startswith(str(tmp_path)), code) == (True, provenance.code())
