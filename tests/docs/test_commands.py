"""Every command of README and docs, section after section, in one fresh clone (slow).

As printed, but that what is trained is first made small in the clone: two epochs. What cannot run
is marked in the page's source (:mod:`tests.docs.pages`).

A section alone, in a clone that is kept and in which README's sections have run before::

    C2VL_DOCS_CLONE=FOLDER pytest tests/docs/test_commands.py -m slow -k Judging
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, environment, shell
from tests.shell import BIN

_SERVES = re.compile(r"^c2vl serve |^make ui")
_INSTALLS = re.compile(r"^pip |^make test")  # the clone has the environment of this test
_ELSEWHERE = ("docs/own-data.md", "docs/scale.md")  # the first has a test, the second takes hours
SECTIONS = dict.fromkeys(
    (page, block.section)
    for page in PAGES
    if page not in _ELSEWHERE
    for block in blocks(page)
    if block.runs and block.language in ("sh", "python")
)

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    kept = os.environ.get("C2VL_DOCS_CLONE")
    path = Path(kept) if kept else tmp_path_factory.mktemp("docs") / "c2vl"
    if not path.exists():
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(path)], check=True)
        _installed(path)
    else:
        subprocess.run(["git", "fetch", "--quiet", str(ROOT), "HEAD"], cwd=path, check=True)
        subprocess.run(["git", "reset", "--hard", "--quiet", "FETCH_HEAD"], cwd=path, check=True)
    _make_small(path)
    yield path
    litter = subprocess.run(
        ["git", "status", "--short", "--untracked-files=all"],
        cwd=path, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert not [line for line in litter if line.startswith("??")], litter  # runs/ is ignored


@pytest.mark.parametrize(("page", "section"), SECTIONS, ids=lambda word: word.replace(" ", "-"))
def test_every_command_runs(page: str, section: str, clone: Path) -> None:
    python = ""  # blocks of a page go on from one another
    wrong = []
    for block in blocks(page):
        if block.runs and block.language == "python":
            python += block.text
        if block.section != section or not block.runs:
            continue
        if block.language == "python":
            (clone / "runs/page.py").write_text(python)
            commands = [(block.line, f"{sys.executable} runs/page.py")]
        else:
            commands = block.commands() if block.language == "sh" else []
        for line, command in commands:
            if _INSTALLS.match(command):
                continue
            began = time.monotonic()
            try:
                said = serve(command, clone) if _SERVES.match(command) else shell(
                    command, clone, clone)  # fmt: skip
                assert "Traceback" not in said, said
            except AssertionError as error:
                wrong.append(f"{page}:{line}: {error}")
            print(f"{page}:{line}: {time.monotonic() - began:.1f} s: {command}", flush=True)
    assert not wrong, "\n\n".join(wrong)


def serve(command: str, clone: Path) -> str:
    """Start what serves until it is ended; end it once it says where."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"], cwd=clone, env=environment(clone), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    said = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if "http://127.0.0.1" in line:
                return said
        raise AssertionError(f"{command}\n{said}")
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


def _installed(clone: Path) -> None:
    """Give the clone this environment as its .venv, which make takes to be up to date."""
    (clone / ".venv").mkdir()
    for path in BIN.parent.iterdir():
        if not path.name.startswith("."):
            (clone / ".venv" / path.name).symlink_to(path)
    pinned = (
        "cat requirements.lock requirements-nodeps.lock pyproject.toml | cksum | cut -d ' ' -f 1"
    )
    said = subprocess.run(pinned, shell=True, cwd=clone, capture_output=True, text=True, check=True)
    (clone / ".venv" / f".installed-{said.stdout.strip()}").touch()


def _make_small(clone: Path) -> None:
    for name, old, new in (
        ("c2vl/presets/demo.yaml", r"epochs: \d+", "epochs: 2"),
        ("c2vl/presets/demo.yaml", r"evaluate_every: \d+", "evaluate_every: 1"),
        ("c2vl/presets/demo.yaml", r"hidden: \d+", "hidden: 4"),
        ("sweeps/presets/demo.yaml", r"trials: \d+", "trials: 3"),
        ("sweeps/presets/demo.yaml", r"min_epochs: \d+", "min_epochs: 1"),
        ("sweeps/presets/demo.yaml", r"seeds: \[.*?\]", "seeds: [0]"),
        ("sweeps/presets/debug.yaml", r"epochs: 4", "epochs: 2"),
        ("c2vl/protocols/settings.py", r"epochs: int = Field\(EPOCHS", "epochs: int = Field(2"),
        ("c2vl/protocols/settings.py", r"draws: int = 5", "draws: int = 1"),
    ):
        text = (clone / name).read_text()
        changed, count = re.subn(old, new, text, count=1)
        assert count == 1, (name, old)
        (clone / name).write_text(changed)
