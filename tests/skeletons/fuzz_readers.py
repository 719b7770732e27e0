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
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np

from c2vl.errors import UserError
from c2vl.skeletons.readers import READERS, Rejected, read_item
from c2vl.skeletons.sequence import Sequence
from tests.skeletons.readers.cases import FUZZED, Case

SECONDS = 1.0
BYTES = 1 << 30
_WORDS = (
    *("0", "-1", "1", "2", "25", "26", "49", "51", "52", "150", "999999999", "1000000000"),
    *("4000000000000", "9223372036854775807", "9223372036854775808", "340282366920938463463374607"),
    *("nan", "NaN", "inf", "-Infinity", "1e308", "1e400", "-1e-400", "1e30", "1001", "0x10", "1_0"),
    *("", " ", "x", "\xff", "\u0663", "null", "true", "[]", "{}", '"', ",", "../../etc/passwd"),
    *("|O", "<f8", "<U5", "True", "(", "(0,)", "(1000000000000,)", "(" * 200, "[" * 3000),
)
_TOKENS = re.compile(rb"[^\s,:\[\]{}()\"']+")
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1)
_PICKLED = (
    b"cos\nsystem\n(X\x04\x00\x00\x00trueB\x00\x00\x00\x00tR",
    b"cnumpy\nload\n",
    b"\x8c\x08builtins\x8c\x04eval\x93",
    b"r\xff\xff\xff\x7f",
    b"q\xff",
    b"j\xff\xff\xff\xff",
    b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8b\xff\xff\xff\x7f",
    b"\x94" * 50,
    b"(" * 50,
    b"2" * 50,
    b"\x85" * 500,
    b"R",
    b"b",
    b"\x81",
    b"\x92",
    b"Q",
    b"\x97\x98",
    b"]a",
    b"}u",
    b".",
)


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


def flip(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(damaged))
        damaged[at] = (
            rng.randrange(256) if rng.random() < 0.5 else damaged[at] ^ 1 << rng.randrange(8)
        )
    return bytes(damaged)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def remove(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.choice((1, 2, 8, 100)) :]


def splice(content: bytes, rng: random.Random) -> bytes:
    start, at = rng.randrange(len(content)), rng.randrange(len(content))
    return content[:at] + content[start : start + rng.choice((1, 4, 30, 500))] + content[at:]


def tokens(content: bytes, rng: random.Random) -> list[re.Match[bytes]]:
    """Return the words at the start, where a file says what it holds, or those of a piece."""
    if rng.random() < 0.5:
        return list(_TOKENS.finditer(content, 0, 100))
    start = rng.randrange(len(content))
    return list(_TOKENS.finditer(content, start, start + 3000))


def exchange_words(content: bytes, rng: random.Random) -> bytes:
    words = tokens(content, rng)
    if len(words) < 2:
        return flip(content, rng)
    first, second = sorted(rng.sample(words, 2), key=lambda word: word.start())
    return b"".join(
        (
            content[: first.start()],
            second[0],
            content[first.end() : second.start()],
            first[0],
            content[second.end() :],
        )
    )


def change_word(content: bytes, rng: random.Random) -> bytes:
    words = tokens(content, rng)
    if not words:
        return flip(content, rng)
    word = rng.choice(words)
    other = rng.choice(_WORDS).encode("utf-8" if rng.random() < 0.5 else "latin-1", "replace")
    return content[: word.start()] + other + content[word.end() :]


def lines(content: bytes, rng: random.Random) -> bytes:
    rows = content.splitlines(keepends=True)
    at = rng.randrange(len(rows))
    action = rng.randrange(4)
    if action == 0:
        del rows[at]
    elif action == 1:
        rows.insert(at, rng.choice(rows))
    elif action == 2:
        rows.insert(at, rng.choice((b"\n", b"\r\n", b" \n", b"\x00\n", b"\xff\xfe\n")))
    else:
        other = rng.randrange(len(rows))
        rows[at], rows[other] = rows[other], rows[at]
    return b"".join(rows)


def number(content: bytes, rng: random.Random) -> bytes:
    """Put an extreme binary number somewhere, mostly near the start or the end."""
    value = rng.choice(_NUMBERS)
    packed = struct.pack(
        rng.choice("<>") + rng.choice("BHIQ" if value < 256 else "IQ"), value & 0xFFFFFFFF
    )
    near = min(200, len(content))
    at = rng.choice(
        (rng.randrange(near), len(content) - rng.randrange(near), rng.randrange(len(content)))
    )
    return content[:at] + packed + content[at + len(packed) :]


def instruction(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + rng.choice(_PICKLED) + content[at + rng.choice((0, 0, 1, 4)) :]


def raw(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return rng.randbytes(rng.choice((0, 1, 20, 1000)))
    letters = rng.choice(
        ("0123456789 \r\n.-,", '[]{}:,"0123456789', "\x80\x04](K\x01.cbuilt\nins", "abc, \n")
    )
    return "".join(rng.choices(letters, k=rng.choice((1, 30, 400)))).encode("latin-1")


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(flip, flip, cut, remove, splice, exchange_words, change_word, change_word, lines, number),
    *(number, instruction),
)


def damage(content: bytes, rng: random.Random) -> bytes:
    """Damage content once to three times, archives also within."""
    if content[:4] == b"PK\x03\x04" and rng.random() < 0.7:
        return repack(content, rng)
    if rng.random() < 0.03:
        return raw(content, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if content:
            content = rng.choice(DAMAGES)(content, rng)
    return content


def repack(content: bytes, rng: random.Random) -> bytes:
    """Damage a member of an archive, or its name, and pack it anew with sound checksums."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    chosen = rng.randrange(len(members))
    out = io.BytesIO()
    with zipfile.ZipFile(
        out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as archive:
        for position, (info, inside) in enumerate(members):
            name = info.filename
            if position == chosen:
                if rng.random() < 0.1:
                    name = rng.choice(
                        ("../" + name, "/" + name, name + "x", "a\\..\\" + name, "\xff")
                    )
                elif rng.random() < 0.02:
                    inside = bytes(8 << 20)
                else:
                    inside = damage(inside, rng)
            archive.writestr(name, inside)
    return out.getvalue()


# Running


@dataclass(frozen=True)
class Dataset:
    """A valid dataset: the content of its files, and one zip of them."""

    case: Case
    files: dict[str, bytes]
    archive: bytes


def datasets(reader: str) -> list[Dataset]:
    """Return the small datasets of a reader, each read once: what is compiled is there by then."""
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
    reader = READERS[case.reader]
    try:
        found = reader.discover(source, case.options)
    except UserError as error:
        assert str(error)
        return "rejected"
    rejected = list(found.rejected)
    for item in found.items:
        assert item.fingerprint
        for one in read_item(reader.read, item):
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
    assert one.id and one.id.isprintable() and 0 <= one.label < classes
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
    parser.add_argument("--reader", action="append", choices=sorted(READERS), help="all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this input alone, again")
    arguments = parser.parse_args()
    crashed = 0
    for reader in arguments.reader or READERS:
        outcome = fuzz(reader, arguments.inputs, arguments.seed, arguments.only, every=10_000)
        crashed += outcome.crashed
        for crash in outcome.crashes[:20]:
            print(crash)
        print(outcome.line(reader, arguments.seed), flush=True)
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
