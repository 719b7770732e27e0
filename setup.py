"""Puts into a wheel what the packages have beside them in a clone: commit, lock files, pages.

Everything else about the package stands in pyproject.toml.
"""

import json
import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent


def git_commit() -> str:
    """Return the commit, with ``-dirty`` if the clone has changes; empty outside of one."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(HERE), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "setup.py")
        return git("rev-parse", "HEAD") + "-dirty" * bool(git("status", "-s", "-uno"))
    except (OSError, subprocess.CalledProcessError):
        return ""


class BuildPackages(build_py):
    """Adds ``c2vl/_installed`` (:mod:`sweeps.spec.provenance` reads it)."""

    def run(self) -> None:
        """Build the packages."""
        super().run()
        if self.editable_mode:
            return
        out = Path(self.build_lib, "c2vl", "_installed")
        (out / "docs").mkdir(parents=True, exist_ok=True)
        for file in (*HERE.glob("requirements*.lock"), HERE / "README.md"):
            shutil.copy(file, out)
        for page in HERE.glob("docs/*.md"):
            shutil.copy(page, out / "docs")
        (out / "build.json").write_text(json.dumps({"git_commit": git_commit()}), encoding="utf-8")


setup(cmdclass={"build_py": BuildPackages})
