"""NTU RGB+D 60 and 120 (Shahroudy et al., CVPR 2016; Liu et al., TPAMI 2019), and the demo set.

``SsssCcccPpppRrrrAaaa.skeleton`` files (set-up, camera, performer, replication, action), in a
folder or straight in the official zip archives. What the text is: :mod:`.ntu_text`; how persons are
chosen: :mod:`c2vl.skeletons.formats.kinect_tracks`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from c2vl.skeletons.datasets.base import Found, Item, Options, Reader
from c2vl.skeletons.datasets.ntu_classes import NTU120_CLASSES
from c2vl.skeletons.formats.raw_files import RawFile, list_files
from c2vl.skeletons.layout import NTU25
from c2vl.skeletons.rejected import Rejected, RejectedError
from c2vl.skeletons.sequence import Sequence
from c2vl.support.errors import UserError

_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
_MISSING = re.compile(r".*missing.*\.txt", re.IGNORECASE)
_MOST_BYTES = 128 << 20  # the longest real files have some 10 MB


def sample_facts(name: str) -> dict[str, Any] | None:
    """Return what a sample name says (label from 0, subject, camera, …); None when it is none."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    setup, camera, subject, replication, action = (int(group) for group in match.groups())
    return {
        "label": action - 1,
        "subject": subject,
        "camera": camera,
        "setup": setup,
        "replication": replication,
    }


def discover_with(classes: tuple[str, ...], split: str) -> Callable[[Path, Options], Found]:
    """Return a ``discover`` for a dataset of these classes."""

    def discover(source: Path, options: Options) -> Found:
        files = list_files(source)
        found = [file for file in files if file.base.endswith(".skeleton")]
        if not found:
            raise UserError(f"{source}: no file is named like S001C001P001R001A001.skeleton")
        lists = [file for file in files if _MISSING.fullmatch(file.base)]
        if options.missing is not None:
            if not options.missing.is_file():
                raise UserError(f"--missing {options.missing}: no such file")
            lists = list_files(options.missing)
        missing = {name for file in lists for name in read_missing(file)}
        items, rejected = [], []
        for file in found:
            if file.base.removesuffix(".skeleton") in missing:
                rejected.append(
                    Rejected(file.name, "in the list of missing skeletons", left_out=True)
                )
            else:
                items.append(Item(file, facts={"classes": len(classes)}))
        return Found(items, NTU25, classes, split, rejected=tuple(rejected))

    return discover


def read_missing(file: RawFile) -> set[str]:
    """Return the sample names of an official list of missing skeletons.

    Raises:
        UserError: it names no sample.
    """
    words = file.read(16 << 20).decode("utf-8", "replace").split()
    names = {word.removesuffix(".skeleton") for word in words}
    names = {name for name in names if _NAME.fullmatch(name)}
    if not names:
        raise UserError(f"{file.path}: no line is a sample name like S001C002P005R002A008")
    return names


def read(item: Item) -> Iterator[Sequence | Rejected]:
    """Read one file, keeping at most two persons and the frames that have one."""
    from c2vl.skeletons.formats.kinect_tracks import two_persons
    from c2vl.skeletons.formats.ntu_text import parse

    name = item.file.base.removesuffix(".skeleton")
    facts = sample_facts(name)
    if facts is None:
        raise RejectedError("the name is not SsssCcccPpppRrrrAaaa.skeleton")
    classes = item.facts["classes"]
    if not 0 <= facts["label"] < classes:
        raise RejectedError(f"action {facts['label'] + 1} is outside 1..{classes}")
    tracks = parse(item.file.read(_MOST_BYTES))
    if not tracks:
        yield Rejected(item.name, "no frame has a body", left_out=True)
        return
    joints, decisions = two_persons(tracks)
    yield Sequence(name, joints, **facts, source=item.name, decisions=decisions)


def ntu_reader(title: str, classes: tuple[str, ...], split: str) -> Reader:
    """Return a reader of files in this format with these classes."""
    return Reader(title, discover_with(classes, split), read, options=frozenset({"missing"}))


NTU60 = ntu_reader("NTU RGB+D 60", NTU120_CLASSES[:60], "xsub60")
NTU120 = ntu_reader("NTU RGB+D 120", NTU120_CLASSES, "xsub120")
