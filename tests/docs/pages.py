"""The code blocks of README and docs, and the commands in them.

A block that no test can run has a comment in front of it, which readers of the page do not see::

    <!-- not run: needs a GPU -->
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.shell import BIN

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*?) -->\n)?(?P<pad> *)```(?P<language>\w*)\n"
    r"(?P<text>.*?)^(?P=pad)```$",
    re.MULTILINE | re.DOTALL,
)
_HEADING = re.compile(r"^#{1,3} (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: its file, from the root of the repository.
        section: the heading that it stands under.
        line: of its first line.
        language: sh, python, yaml, or none.
        text: what stands in it.
        mark: what the comment in front of it says.
    """

    page: str
    section: str
    line: int
    language: str
    text: str
    mark: str

    @property
    def runs(self) -> bool:
        """Whether a test runs it."""
        return not self.mark.startswith("not run:")

    def commands(self) -> list[tuple[int, str]]:
        """Return each command with its line; what ``\\`` and loops continue is one command."""
        found: list[tuple[int, str]] = []
        kept, first, depth = "", 0, 0
        for number, line in enumerate(self.text.splitlines(), start=self.line):
            bare = re.sub(r"(^|\s)#.*", "", line).rstrip()
            if not bare.strip() and not kept:
                continue
            first = first or number
            depth += len(re.findall(r"\bdo\b", bare)) - len(re.findall(r"\bdone\b", bare))
            kept += bare
            if bare.endswith("\\"):
                kept = kept[:-1] + " "
            elif depth:
                kept += "\n"
            else:
                found.append((first, kept.strip()))
                kept, first = "", 0
        return found


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(
            page,
            (_HEADING.findall(text[: match.start("text")]) or [""])[-1],
            text[: match.start("text")].count("\n") + 1,
            match["language"],
            match["text"],
            match["mark"] or "",
        )
        for match in _BLOCK.finditer(text)
    ]


def environment(code: Path) -> dict[str, str]:
    """Return the variables of a shell in which .venv is activated."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "PATH": path, "PYTHONPATH": str(code)}


def shell(command: str, cwd: Path, code: Path = ROOT) -> str:
    """Run a command as a shell in which .venv is activated; return its output, both streams.

    Args:
        code: the clone whose packages it imports.
    """
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=environment(code),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=1500,  # captions of the demo, on a machine that others use
        check=False,
    )
    assert done.returncode == 0, f"{command}\nstatus {done.returncode}\n{done.stdout}"
    return done.stdout
