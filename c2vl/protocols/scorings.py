"""The count of test scorings: every reading of the test part by an encoder leaves a line.

The lines stand in the encoder's own folder, ``test_scorings.jsonl``, and go where it goes; for an
encoder without a folder of its own (from MLflow, or fresh weights) they stand beside the results.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from c2vl.encoder.artefact import SCORINGS
from c2vl.errors import UserError


def count_scoring(folder: Path, encoder: str, protocol: str, data: str, split: str) -> int:
    """Write down one reading of the test part, before it happens.

    Args:
        folder: where the lines stand.
        encoder: digest of what is scored.
        protocol: by which.
        data: checksum of the store.
        split: of which split.

    Returns:
        How many readings this encoder has had, this one included.

    Raises:
        UserError: the line cannot be written; the test part is then not read.
    """
    line = {
        "encoder": encoder,
        "protocol": protocol,
        "data": data,
        "split": split,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    path = folder / SCORINGS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error}); test scorings are counted there: make the "
            "folder writable, or take a copy of the encoder"
        ) from None
    return scorings(folder, encoder)


def scorings(folder: Path, encoder: str | None = None) -> int:
    """How many readings are written down, by one encoder or by all."""
    path = folder / SCORINGS
    if not path.exists():
        return 0
    lines = path.read_text(encoding="utf-8").splitlines()
    return sum(encoder is None or json.loads(line)["encoder"] == encoder for line in lines if line)
