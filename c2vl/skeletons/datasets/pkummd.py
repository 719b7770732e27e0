"""PKU-MMD, phases I and II (Liu et al., arXiv:1703.07475): untrimmed videos of a Kinect v2.

Phase I names its videos ``0002-M.txt`` (recording, view), phase II ``A01N01-L.txt`` (script,
performer, view). A skeleton file has a row of 150 numbers a frame, 2 bodies × 25 joints × xyz in
metres; the label file of a video has the same name in another folder, and rows
``class,start,end,confidence``. Which of the two a file is, its first line says.

An instance is frames ``start`` to ``end - 1``, counted from 0: the length is ``end - start``, as in
the evaluation code of the dataset's authors, and ``frames[start:end]`` as in published preparations
of it.

Ids of phase II are those of the published captions, ``AaaaNnnnVvvvCcccLlll``: script, performer,
view (1 left, 2 middle, 3 right), class from 1, and which row of the label file it is, from 1 (all
rows count, whatever their class). In phase I, where the performer is unknown, they are
``RrrrrVvvvCcccLlll`` with the recording first. Windows end in ``Wwwwww``, numbered from 1, instead
of ``CcccLlll``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.datasets.base import Found, Item, Options, Reader
from c2vl.skeletons.formats.number_rows import number_rows, number_rows_by_line
from c2vl.skeletons.formats.pkummd_text import LabelRow, part_lists, read_labels
from c2vl.skeletons.formats.raw_files import RawFile, list_files
from c2vl.skeletons.layout import NTU25
from c2vl.skeletons.rejected import Rejected, RejectedError
from c2vl.skeletons.sequence import FARTHEST, Sequence, checked, trimmed
from c2vl.support.errors import UserError

_NAMES = """
    bow|brushing hair|brushing teeth|check time (from watch)|cheer up|clapping|
    cross hands in front|drink water|drop|eat meal/snack|falling|giving something to other person|
    hand waving|handshaking|hopping|hugging other person|jump up|kicking other person|
    kicking something|make a phone call|pat on back of other person|pickup|
    playing with phone/tablet|point finger at the other person|pointing to something with finger|
    punching/slapping other person|pushing other person|put on a hat/cap|
    put something inside pocket|reading|rub two hands together|salute|sitting down|standing up|
    take off a hat/cap|take off glasses|take off jacket|take out something from pocket|
    taking a selfie|tear up paper|throw|touch back|touch chest|touch head|touch neck|
    typing on a keyboard|use a fan|wear jacket|wear on glasses|wipe face|writing"""
CLASS_NAMES = tuple(" ".join(name.split()) for name in _NAMES.split("|"))
BACKGROUND = len(CLASS_NAMES)
"""The label of windows that no class covers by more than half."""

_VIEWS = {"L": 1, "M": 2, "R": 3}
_VIDEO_I = re.compile(r"(?P<recording>\d{4})-(?P<view>[LMR])")
_VIDEO_II = re.compile(r"A(?P<script>\d{2})N(?P<performer>\d{2})-(?P<view>[LMR])")
_BODIES, _JOINTS = 2, 25
_COLUMNS = _BODIES * _JOINTS * 3
_MOST_BYTES = 64 << 20  # the longest real videos have some 12 MB
_CLIPPED = "ends clipped to the video"


class _Span(NamedTuple):
    """A cut of a video: its frames, the end of its id, its class, its number, what was decided."""

    start: int
    end: int
    suffix: str
    label: int
    number: int
    decisions: dict[str, int]


def _video(name: str, phase: int) -> tuple[str, dict[str, int]]:
    """Return the start of a video's ids, and the facts that its name tells of every sequence."""
    match = (_VIDEO_I if phase == 1 else _VIDEO_II).fullmatch(name)
    assert match is not None, "discover chose it by its name"
    view = _VIEWS[match["view"]]
    if phase == 1:
        recording = int(match["recording"])
        return f"R{recording:04d}V{view:03d}", {"camera": view, "setup": recording}
    script, performer = int(match["script"]), int(match["performer"])
    facts = {"camera": view, "setup": script * 100 + performer, "subject": performer}
    return f"A{script:03d}N{performer:03d}V{view:03d}", facts


def _discover(phase: int) -> Callable[[Path, Options], Found]:
    video = _VIDEO_I if phase == 1 else _VIDEO_II
    example = "0002-M.txt" if phase == 1 else "A01N01-L.txt"

    def discover(source: Path, options: Options) -> Found:
        window = _window(options)
        files = list_files(source)
        found = [f for f in files if f.base.endswith(".txt") and video.fullmatch(f.base[:-4])]
        if not found:
            packed = any(file.base.endswith(".7z") for file in files)
            hint = "; unpack the .7z archives first" if packed else ""
            raise UserError(f"{source}: no file is named like {example}{hint}")
        parts = part_lists(files, video)
        rejected: list[Rejected] = []
        items = []
        for name, (skeletons, labels) in sorted(_by_video(found).items()):
            for kind, same in (("skeleton", skeletons), ("label", labels)):
                for file in same[1:]:
                    reason = f"another {kind} file of this video: {same[0].name} is used"
                    rejected.append(Rejected(file.name, reason))
            if skeletons and labels:
                mine = {split: part[name] for split, part in parts.items() if name in part}
                facts: dict[str, Any] = {"phase": phase, "video": name, "parts": mine, **window}
                items.append(Item(skeletons[0], beside=(labels[0],), facts=facts))
            elif skeletons:
                rejected.append(Rejected(skeletons[0].name, "no label file of this video"))
            else:
                rejected.append(Rejected(labels[0].name, "no skeleton file of this video"))
        classes = (*CLASS_NAMES, "background") if window else CLASS_NAMES
        return Found(items, NTU25, classes, "xsub", rejected=tuple(rejected))

    return discover


def _window(options: Options) -> dict[str, int]:
    if options.window is None:
        if options.stride is not None:
            raise UserError("--stride: it is the distance of windows; give --window too")
        return {}
    stride = max(options.window // 2, 1) if options.stride is None else options.stride
    for name, value in (("window", options.window), ("stride", stride)):
        if value < 1:
            raise UserError(f"--{name} {value}: it must be one frame or more")
    return {"window": options.window, "stride": stride}


def _by_video(files: list[RawFile]) -> dict[str, tuple[list[RawFile], list[RawFile]]]:
    """Group skeleton and label files by video; an empty file counts as the one that is lacking."""
    videos: dict[str, tuple[list[RawFile], list[RawFile]]] = {}
    unclear = []
    for file in files:
        first = file.start(256).lstrip().partition(b"\n")[0]
        kinds = videos.setdefault(file.base.removesuffix(".txt"), ([], []))
        if not first:
            unclear.append((file, kinds))
        else:
            kinds[b"," in first].append(file)
    for file, (skeletons, labels) in unclear:
        (labels if skeletons and not labels else skeletons).append(file)
    return videos


def read(item: Item) -> Iterator[Sequence | Rejected]:
    """Read a video and cut out its instances, or windows where these were asked for.

    Yields:
        Sequences of joints (1 or 2, T, 25, 3); frames without a body are dropped, and counted, as
        is an end that overruns the video.
    """
    labels = item.beside[0]
    frames = _frames(item.file.read(_MOST_BYTES))
    try:
        rows = read_labels(labels, len(CLASS_NAMES), len(frames))
    except (RejectedError, OSError) as error:
        yield Rejected(labels.name, str(error), getattr(error, "line", None))
        return
    if "window" in item.facts:
        spans = _windows(labels, rows, len(frames), item.facts["window"], item.facts["stride"])
    else:
        spans = _instances(labels, rows, len(frames))
    for span in spans:
        yield span if isinstance(span, Rejected) else _cut(item, frames, span)


def _instances(labels: RawFile, rows: list[LabelRow], length: int) -> Iterator[_Span | Rejected]:
    if not rows:
        yield Rejected(labels.name, "no row: the video has no instance", left_out=True)
    for row in rows:
        if row.fault:
            yield Rejected(labels.name, row.fault, row.line)
            continue
        suffix = f"C{row.label + 1:03d}L{row.number:03d}"
        clipped = {_CLIPPED: 1} if row.end > length else {}
        yield _Span(row.start, min(row.end, length), suffix, row.label, row.number, clipped)


def _windows(
    labels: RawFile, rows: list[LabelRow], length: int, window: int, stride: int
) -> Iterator[_Span | Rejected]:
    """Cut windows over the whole video, the last one moved back to end with it."""
    classes = np.full(length, BACKGROUND)
    for row in rows:
        if row.fault:
            yield Rejected(labels.name, f"{row.fault}; windows need every row", row.line)
            return
        classes[row.start : row.end] = row.label
    last = max(length - window, 0)
    for number, start in enumerate([*range(0, last, stride), last], start=1):
        end = min(start + window, length)
        counts = np.bincount(classes[start:end], minlength=BACKGROUND + 1)
        most = int(counts.argmax())
        label = most if 2 * counts[most] > end - start else BACKGROUND
        yield _Span(start, end, f"W{number:05d}", label, number, {})


def _cut(item: Item, frames: NDArray[np.float64], span: _Span) -> Sequence | Rejected:
    start, end, suffix, label, number, decisions = span
    name, facts = _video(item.facts["video"], item.facts["phase"])
    rows = frames[start:end]
    try:
        joints = checked(rows.reshape(-1, _BODIES, _JOINTS, 3).transpose(1, 0, 2, 3))
    except RejectedError as error:
        sound = (np.abs(rows) < FARTHEST).all(axis=1)
        line = None if sound.all() else start + int(sound.argmin()) + 1
        return Rejected(f"{item.name}[{start}:{end}]", error.reason, line)
    try:
        shown, dropped = trimmed(joints)
    except RejectedError as error:
        return Rejected(f"{item.name}[{start}:{end}]", error.reason, start + 1, left_out=True)
    facts |= {"label": label, "replication": number, "start": start, "end": end}
    decided, parts = decisions | dropped, item.facts["parts"]
    return Sequence(name + suffix, shown, **facts, source=item.name, parts=parts, decisions=decided)


def _frames(text: bytes) -> NDArray[np.float64]:
    rows = number_rows(text.rstrip(), _COLUMNS)
    if rows is None:
        rows = number_rows_by_line(text, _COLUMNS)
    if not len(rows):
        raise RejectedError("no frame in the file", 1)
    return rows


_OPTIONS = frozenset({"window", "stride"})
PKUMMD1 = Reader("PKU-MMD phase I", _discover(1), read, options=_OPTIONS)
PKUMMD2 = Reader("PKU-MMD phase II", _discover(2), read, options=_OPTIONS)
