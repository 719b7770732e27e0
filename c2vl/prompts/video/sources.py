"""The span of video of each sequence: of NTU RGB+D, PKU-MMD, UTD-MHAD, or from a list."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from c2vl.prompts.video.frames import Clip
from c2vl.support.errors import UserError

_VIEWS = {"L": 1, "M": 2, "R": 3}


def ntu(folder: Path, labels: Path | None) -> list[Clip]:
    """``SsssCcccPpppRrrrAaaa_rgb.avi``, at any depth: a video is a sequence."""
    return _whole(folder, "*_rgb.avi", r"(S\d{3}C\d{3}P\d{3}R\d{3}A\d{3})_rgb\.avi")


def utd_mhad(folder: Path, labels: Path | None) -> list[Clip]:
    """``aA_sS_tT_color.avi``: a video is a sequence, called ``aA_sS_tT``."""
    return _whole(folder, "*_color.avi", r"(a\d+_s\d+_t\d+)_color\.avi")


def pku_mmd(folder: Path, labels: Path | None) -> list[Clip]:
    """Untrimmed ``A01N02-L.avi`` (phase II) or ``0002-M.avi`` (phase I), cut by label files.

    A label file has the video's name and rows ``class,start,end,confidence`` in frames. Sequences
    are called as the skeletons' reader calls them: those of phase II as in the published captions,
    ``AaaaNnnnVvvvCcccLlll``, where L counts the rows of the file from 1 and V is 1, 2, 3 for L, M,
    R; those of phase I ``RrrrrVvvvCcccLlll``.
    """
    if labels is None:
        raise UserError("PKU-MMD's videos are not cut: name the folder of its labels with --labels")
    clips = []
    for video in _files(folder, "*.avi", r"(A\d+N\d+|\d{4})-[LMR]\.avi"):
        file = labels / f"{video.stem}.txt"
        try:
            rows = [line.split(",") for line in file.read_text().split() if line.strip()]
            spans = [(int(row[0]), float(row[1]), float(row[2])) for row in rows]
        except FileNotFoundError:
            raise UserError(f"{file}: no such file; every video needs its labels") from None
        except (OSError, ValueError, IndexError):
            raise UserError(f"{file}: expected rows class,start,end,confidence") from None
        recording, _, view = video.stem.partition("-")
        name = f"R{recording}V{_VIEWS[view]:03d}"
        if phase2 := re.fullmatch(r"A(\d+)N(\d+)", recording):
            name = f"A{int(phase2[1]):03d}N{int(phase2[2]):03d}V{_VIEWS[view]:03d}"
        for number, (action, start, end) in enumerate(spans, start=1):
            clips.append(Clip(f"{name}C{action:03d}L{number:03d}", video, start, end, True))
    return clips


def listed(file: Path, labels: Path | None) -> list[Clip]:
    """A CSV with columns id, video and, where a video is not one sequence, start and end.

    These are seconds; ``start_frame`` and ``end_frame`` in their place count frames from 0. Videos
    are found from the CSV's folder, and must lie in it.
    """
    try:
        table = pd.read_csv(file, dtype={"id": str, "video": str})
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except Exception as error:  # pandas raises many kinds
        raise UserError(f"{file}: cannot be read as CSV ({error})") from None
    if not {"id", "video"} <= set(table.columns):
        raise UserError(f"{file}: needs columns id and video (and start, end)")
    in_frames = "start_frame" in table.columns
    columns = ("start_frame", "end_frame") if in_frames else ("start", "end")
    root = file.parent.resolve()
    clips = []
    for line, row in enumerate(table.to_dict("records"), start=2):
        where = f"{file}: line {line}"
        video = (root / str(row["video"])).resolve()
        if not video.is_relative_to(root):
            raise UserError(f"{where}: the video {row['video']} is outside the folder of the list")
        try:
            start, end = (_number(row.get(column)) for column in columns)
        except ValueError:
            raise UserError(f"{where}: {columns[0]} and {columns[1]} must be numbers") from None
        clips.append(Clip(str(row["id"]), video, start or 0.0, end, in_frames))
    return clips


DATASETS: dict[str, Callable[[Path, Path | None], list[Clip]]] = {
    "ntu": ntu,
    "pku-mmd": pku_mmd,
    "utd-mhad": utd_mhad,
    "list": listed,
}


def find(dataset: str, source: Path, labels: Path | None = None) -> list[Clip]:
    """Return the clips of a dataset, each sequence once, in the order of their names.

    Raises:
        UserError: nothing is found, a list is wrong, or a sequence occurs twice.
    """
    clips = sorted(DATASETS[dataset](source, labels), key=lambda clip: clip.id)
    if not clips:
        raise UserError(f"{source}: names no sequence")
    for one, other in itertools.pairwise(clips):
        if one.id == other.id:
            raise UserError(f"{source}: {one.id} occurs twice ({one.video}, {other.video})")
    return clips


def _number(value: object) -> float | None:
    """A cell's number; None where it is empty."""
    number = float(value) if isinstance(value, str | int | float) else math.nan
    return None if math.isnan(number) else number


def _whole(folder: Path, pattern: str, name: str) -> list[Clip]:
    return [
        Clip(match[1], path)
        for path in _files(folder, pattern, name)
        if (match := re.fullmatch(name, path.name))
    ]


def _files(folder: Path, pattern: str, name: str) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder of the videos")
    found = [path for path in sorted(folder.rglob(pattern)) if re.fullmatch(name, path.name)]
    if not found:
        raise UserError(f"{folder}: no video is named like {pattern}")
    return found
