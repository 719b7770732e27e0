"""The count of test scorings: one line for each time an encoder is scored on the test part.

The lines are in ``test_scorings.jsonl`` in the encoder's folder, and are copied with it; for an
encoder without a folder of its own (from MLflow, or fresh weights) they are beside the results.
Each line names its run, so that a run that was killed and resumed is counted once.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from c2vl.support.errors import UserError
from c2vl.support.files import parse_json, replacing_folder

SCORINGS = "test_scorings.jsonl"


def count_scoring(
    folder: Path, encoder: str, protocol: str, data: str, split: str, *, run: str
) -> int:
    """Record one scoring of the test part before it happens; a resumed run adds no line.

    Args:
        folder: holds the file of lines.
        encoder: digest of the scored encoder.
        data: checksum of the store.
        run: a name that no other scoring has.

    Returns:
        The number of this scoring among those of the encoder, from 1.

    Raises:
        UserError: the line cannot be written; the test part is then not read.
    """
    line = {
        "encoder": encoder,
        "protocol": protocol,
        "data": data,
        "split": split,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "run": run,
    }
    path = folder / SCORINGS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(path) as file:
            text = file.read()
            kept = text[: text.rfind(b"\n") + 1]  # a cut last line: killed before it scored
            own = [one for one in _parse(path, kept) if one["encoder"] == encoder]
            for number, one in enumerate(own, start=1):
                if one.get("run") == run:
                    return number
            file.truncate(len(kept))
            file.seek(len(kept))
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            return len(own) + 1
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error}); test scorings are counted there: make the "
            "folder writable, or take a copy of the encoder"
        ) from None


def scorings(folder: Path, encoder: str | None = None) -> int:
    """Return the number of recorded scorings, of one encoder or of all."""
    lines = _parse(folder / SCORINGS, _read(folder / SCORINGS))
    return sum(encoder is None or line["encoder"] == encoder for line in lines)


@contextmanager
def replacing_encoder(
    folder: Path, encoder: str = "", counted: Iterable[Path] = ()
) -> Iterator[Path]:
    """Replace an encoder's folder, and keep every line of its count of test scorings.

    Args:
        folder: keeps its own lines, and takes no new ones while the block runs.
        encoder: digest of the encoder that is written.
        counted: other folders, whose lines about this encoder are added.
    """
    found: Counter[bytes] = Counter()  # the same line in two folders is one scoring
    for source in counted:
        path = source / SCORINGS
        text = _read(path)
        pairs = zip(text.splitlines(), _parse(path, text), strict=True)
        found |= Counter(text for text, line in pairs if line["encoder"] == encoder)
    with ExitStack() as held:
        path = folder / SCORINGS
        if path.is_file():
            held.enter_context(_locked(path))
            found = Counter(_read(path).splitlines()) | found
        with replacing_folder(folder) as partial:
            yield partial
            if found:
                lines = b"".join(line + b"\n" for line in found.elements())
                (partial / SCORINGS).write_bytes(lines)


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Open and lock a file of lines; retry if it was replaced before the lock."""
    import fcntl  # not everywhere, and loading an encoder needs none of this

    while True:
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.seek(0)
                yield file
                return


def _read(path: Path) -> bytes:
    """Return the whole lines of a file; none where there is no file."""
    text = path.read_bytes() if path.is_file() else b""
    return text[: text.rfind(b"\n") + 1]


def _parse(path: Path, text: bytes) -> list[dict[str, str]]:
    try:
        lines = [parse_json(line) for line in text.splitlines() if line]
        if not all(isinstance(line, dict) and "encoder" in line for line in lines):
            raise ValueError("a line names no encoder")
    except ValueError as error:
        raise UserError(
            f"{path}: is no count of test scorings ({error}); put it back as it was"
        ) from None
    return lines
