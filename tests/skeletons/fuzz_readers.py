"""Damage valid datasets in every way, and see that readers read or reject them and nothing else.

    python -m tests.skeletons.fuzz_readers --inputs 100000 --reader pkummd2
    python -m tests.skeletons.fuzz_readers --reader pkummd2 --seed 0 --only 4711

An input is a small dataset, in a folder or a zip, of which one file is damaged: bytes flipped, cut
off, moved or replaced by other content, words exchanged, numbers made extreme. Whatever does not
end in sequences that hold what a sequence promises, in rejections, or in a ``UserError``, within a
second and a gigabyte, is a crash. The same seed gives the same inputs.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np

from c2vl.registry import names
from c2vl.skeletons.datasets import Rejected, get_reader, read_item
from c2vl.skeletons.sequence import Sequence
from c2vl.support.errors import UserError
from tests.skeletons.damages import damage
from tests.skeletons.datasets.cases import FUZZED, Case

SECONDS = 1.0
BYTES = 1 << 30


class HungError(BaseException):
    """An input took longer than it may."""


@dataclass
class Outcome:
    """What came of a reader's inputs."""

    read: int = 0
    rejected: int = 0
    crashed: int = 0
    seconds: float = 0.0
    crashes: list[str] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        return self.read + self.rejected + self.crashed

    def line(self, reader: str, seed: int) -> str:
        return (
            f"{reader}: seed {seed}, {self.inputs} inputs in {self.seconds:.0f} s: "
            f"{self.read} read, {self.rejected} rejected, {self.crashed} crashed"
        )


# Damage


@dataclass(frozen=True)
class Dataset:
    """A valid dataset: the content of its files, and one zip of them."""

    case: Case
    files: dict[str, bytes]
    archive: bytes


def datasets(reader: str) -> list[Dataset]:
    """Return the small datasets of a reader, each read once: imports come first."""
    found: list[Dataset] = []
    for case in FUZZED:
        if case.reader != reader:
            continue
        with tempfile.TemporaryDirectory() as name:
            source = Path(name)
            case.write(source, "\r\n" if len(found) % 2 else "\n")
            assert use(case, source) == "read", case
            paths = sorted(path for path in source.rglob("*") if path.is_file())
            files = {path.relative_to(source).as_posix(): path.read_bytes() for path in paths}
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        found.append(Dataset(case, files, packed.getvalue()))
    return found


def fuzz(
    reader: str, inputs: int, seed: int = 0, only: int | None = None, every: int = 0
) -> Outcome:
    """Run a reader on damaged datasets.

    Args:
        reader: its name.
        inputs: how many.
        seed: of all damage.
        only: this input alone.
        every: say how it goes after so many inputs; 0 for never.
    """
    outcome = Outcome()
    memory = "/dev/shm"
    where = memory if os.access(memory, os.W_OK) else None
    valid = datasets(reader)
    with tempfile.TemporaryDirectory(dir=where) as name, _bounded():
        folder = Path(name)
        start = time.monotonic()
        for position in range(inputs) if only is None else [only]:
            rng = random.Random(f"{reader} {seed} {position}")
            dataset = rng.choice(valid)
            source = folder / f"input-{position}"
            write(dataset, source, rng)
            try:
                with _limited():
                    kind = use(dataset.case, source)
            except (Exception, HungError):
                outcome.crashed += 1
                text = "".join(traceback.format_exc().splitlines(keepends=True)[-12:])
                outcome.crashes.append(f"input {position} ({dataset.case}):\n{text}")
            else:
                setattr(outcome, kind, getattr(outcome, kind) + 1)
            shutil.rmtree(source)
            outcome.seconds = time.monotonic() - start
            if every and outcome.inputs % every == 0:
                print(outcome.line(reader, seed), flush=True)
        outcome.seconds = time.monotonic() - start
    return outcome


def write(dataset: Dataset, source: Path, rng: random.Random) -> None:
    """Write a dataset with something of it damaged."""
    source.mkdir()
    if rng.random() < 0.2:
        (source / "all.zip").write_bytes(damage(dataset.archive, rng))
        return
    chosen = rng.choice(sorted(dataset.files))
    for name, content in dataset.files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(damage(content, rng) if name == chosen else content)


def use(case: Case, source: Path) -> str:
    """Read a dataset; returns "read" when a sequence came of every part of it, else "rejected"."""
    reader = get_reader(case.reader)
    try:
        found = reader.discover(source, case.options)
    except UserError as error:
        assert str(error)
        return "rejected"
    rejected = list(found.rejected)
    for item in found.items:
        assert item.fingerprint
        for one in read_item(reader.read, item, reader.conversion(case.options)):
            if isinstance(one, Rejected):
                rejected.append(one)
                continue
            check(one, len(found.layout.joints), len(found.class_names))
    assert all(one.reason and one.file for one in rejected)
    return "rejected" if rejected else "read"


def check(one: Sequence, joints: int, classes: int) -> None:
    """See that a sequence is what it promises to be."""
    assert one.joints.dtype == np.float32 and one.joints.flags.c_contiguous
    assert one.joints.ndim == 4 and one.joints.shape[2:] == (joints, 3) and one.joints.size
    assert np.isfinite(one.joints).all() and one.joints.any(axis=(0, 2, 3)).all()
    assert one.id and one.id.isprintable()
    assert 0 <= one.label < classes or (one.label, classes) == (-1, 0)
    assert set(one.parts.values()) <= {"train", "test"}


@contextmanager
def _bounded() -> Iterator[None]:
    """Allow the process a gigabyte more than it has now."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def _limited() -> Iterator[None]:
    def hung(signum: int, frame: FrameType | None) -> None:
        raise HungError(f"over {SECONDS} s")

    before = signal.signal(signal.SIGVTALRM, hung)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="for each reader")
    parser.add_argument("--reader", action="append", choices=names("dataset"), help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this input alone, again")
    arguments = parser.parse_args()
    crashed = 0
    for reader in arguments.reader or names("dataset"):
        outcome = fuzz(reader, arguments.inputs, arguments.seed, arguments.only, every=10_000)
        crashed += outcome.crashed
        for crash in outcome.crashes[:20]:
            print(crash)
        print(outcome.line(reader, arguments.seed), flush=True)
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
