"""Reads raw files in chunks, in several processes, and no chunk twice.

A chunk is some tens of items. Its result is two files named by a hash of everything that it depends
on (the items' fingerprints, the reader and its version, axes and unit, the stored type): the rows,
and a JSON file that is renamed into place last. A finished chunk is never read again, however the
command ended.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait as wait_for_end
from pathlib import Path
from typing import Any

import numpy as np

from c2vl.registry import import_modules
from c2vl.skeletons.axes import Conversion
from c2vl.skeletons.datasets.base import Item, Reader
from c2vl.skeletons.rejected import Rejected
from c2vl.skeletons.sequence import Sequence as Motion
from c2vl.skeletons.sequence import rows_checksum
from c2vl.support.cpus import usable_cpus
from c2vl.support.errors import UserError
from c2vl.support.progress import Progress, silent

_ITEMS, _BYTES = 64, 32 << 20  # limits of a chunk
_SMALL = 64 << 20  # bytes; reading less than this is faster than starting processes

Read = Callable[[Item], Iterable[Motion | Rejected]]


@dataclass(frozen=True)
class Chunk:
    """Items that are read together.

    Attributes:
        key: names the result.
    """

    key: str
    items: tuple[Item, ...]

    def rows(self, folder: Path) -> Path:
        """The file of the joints."""
        return folder / f"{self.key}.rows"

    def table(self, folder: Path) -> Path:
        """The file of everything else, an entry an item; it exists once the chunk is finished."""
        return folder / f"{self.key}.json"


def cut(items: list[Item], reader: Reader, conversion: Conversion, dtype: str) -> list[Chunk]:
    """Divide items into chunks, in order."""
    groups: list[list[Item]] = []
    size = 0
    for item in items:
        if not groups or len(groups[-1]) == _ITEMS or size + item.file.size > _BYTES:
            groups.append([])
            size = 0
        groups[-1].append(item)
        size += item.file.size
    chunks = []
    for group in groups:
        items_marks = [item.fingerprint for item in group]
        marks = [reader.name, reader.version, asdict(conversion), dtype, items_marks]
        key = hashlib.sha256(json.dumps(marks).encode()).hexdigest()[:24]
        chunks.append(Chunk(key, tuple(group)))
    return chunks


def read_chunks(
    chunks: list[Chunk],
    folder: Path,
    read: Read,
    dtype: str,
    jobs: int | None,
    progress: Progress | None,
    imports: Sequence[str] = (),
) -> None:
    """Read the chunks whose results are not in the folder yet.

    Args:
        read: yields an item's sequences in metres with y up; another process must be able to
            import it by name.
        jobs: processes; None: one a core, or only this one if there is little to read.
        progress: called with items done and items in all.
        imports: modules that each process imports first: the reader's, where it is a user's own.

    Raises:
        UserError: a process died.
    """
    total = sum(len(chunk.items) for chunk in chunks)
    open_chunks = [chunk for chunk in chunks if not chunk.table(folder).is_file()]
    done = total - sum(len(chunk.items) for chunk in open_chunks)
    size = sum(item.file.size for chunk in open_chunks for item in chunk.items)
    if jobs is None:
        jobs = usable_cpus() if size > _SMALL else 1
    report = progress or silent
    report(done, total)
    if jobs == 1 or len(open_chunks) < 2:
        for chunk in open_chunks:
            for _ in read_chunk(chunk, folder, read, dtype):
                done += 1
                report(done, total)
        return
    for chunk in _in_processes(open_chunks, folder, read, dtype, jobs, imports):
        done += len(chunk.items)
        report(done, total)


def _in_processes(
    chunks: list[Chunk], folder: Path, read: Read, dtype: str, jobs: int, imports: Sequence[str]
) -> Iterator[Chunk]:
    pool = ProcessPoolExecutor(
        min(jobs, len(chunks)),
        multiprocessing.get_context("spawn"),
        initializer=_start_process,
        initargs=(imports,),
    )
    waiting = iter(chunks)
    running: dict[Future[None], Chunk] = {}
    try:
        while True:
            for chunk in waiting:  # only a few ahead: a million futures take memory too
                running[pool.submit(_read_whole, chunk, folder, read, dtype)] = chunk
                if len(running) == 2 * jobs:
                    break
            if not running:
                return
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
                yield running.pop(future)
    except BrokenProcessPool:
        raise UserError(
            "a reading process died (killed, or out of memory); the same command continues from "
            "there, --jobs 1 needs the least memory"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_process(imports: Sequence[str]) -> None:
    """Ignore Ctrl-C, exit when the parent ends, even by SIGKILL, and import a user's reader."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def follow() -> None:
        wait_for_end([sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    import_modules(imports)


def _read_whole(chunk: Chunk, folder: Path, read: Read, dtype: str) -> None:
    for _ in read_chunk(chunk, folder, read, dtype):
        pass


def read_chunk(chunk: Chunk, folder: Path, read: Read, dtype: str) -> Iterator[Item]:
    """Read a chunk, yielding each finished item; the last one once the result is in place."""
    temporary = chunk.rows(folder).with_suffix(f".{os.getpid()}.tmp")
    entries: list[dict[str, Any]] = []
    with temporary.open("wb") as file:
        for number, item in enumerate(chunk.items, start=1):
            entries.append(_read_item(item, read, dtype, file.write))
            if number < len(chunk.items):
                yield item
    os.replace(temporary, chunk.rows(folder))
    temporary.write_text(json.dumps(entries), encoding="utf-8")
    os.replace(temporary, chunk.table(folder))
    yield chunk.items[-1]


def _read_item(
    item: Item, read: Read, dtype: str, write: Callable[[memoryview], Any]
) -> dict[str, Any]:
    """Read one item: write the rows of its sequences and return everything else."""
    sequences: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    decisions: dict[str, list[int]] = {}
    for one in read(item):
        if isinstance(one, Rejected):
            rejected.append(asdict(one))
            continue
        rows = np.ascontiguousarray(one.joints, dtype=dtype)
        write(rows.data)
        facts = {key: value for key, value in vars(one).items() if key != "joints"}
        for name, count in facts.pop("decisions").items():
            times, where = decisions.get(name, (0, 0))
            decisions[name] = [times + count, where + 1]
        bodies, frames = one.joints.shape[:2]
        sequences.append(
            facts | {"bodies": bodies, "frames": frames, "checksum": rows_checksum(rows)}
        )
    return {"sequences": sequences, "rejected": rejected, "decisions": decisions}
