"""The demo set as a prepared store: generate into a temporary folder, then prepare."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import asdict
from pathlib import Path

from c2vl.errors import UserError
from c2vl.skeletons.demo.generate import DemoSettings, generate
from c2vl.skeletons.parts import Progress
from c2vl.skeletons.prepare import Prepared, existing, prepare
from c2vl.skeletons.readers import get_reader


def prepare_demo(
    out: Path,
    settings: DemoSettings,
    *,
    keep_raw: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Generate the demo set and prepare it at ``out``; a store of the same settings is left alone.

    Args:
        out: the folder of the store.
        settings: what to generate.
        keep_raw: keep the ``.skeleton`` files in this folder, which must be new or empty.
        overwrite: replace a different store at ``out``.
        progress: see :func:`c2vl.skeletons.prepare.prepare`.

    Raises:
        UserError: ``out`` is something else, or ``keep_raw`` is not empty.
    """
    digest = hashlib.sha256(settings.fingerprint().encode()).hexdigest()
    origin = {"generator": asdict(settings), "files": digest}
    found = existing(out, get_reader("demo"), origin, overwrite=overwrite)
    if isinstance(found, Prepared) and keep_raw is None:
        return found
    if keep_raw is not None:
        if keep_raw.exists() and (not keep_raw.is_dir() or any(keep_raw.iterdir())):
            raise UserError(f"--keep-raw {keep_raw}: not an empty folder; give a new one")
        keep_raw.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="c2vl-demo-") as temporary:
        raw = keep_raw or Path(temporary)
        generate(raw, settings)
        return prepare("demo", raw, out, overwrite=overwrite, progress=progress, origin=origin)
