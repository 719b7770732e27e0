"""Reads the label and split files of PKU-MMD."""

from __future__ import annotations

import re
from dataclasses import dataclass

from c2vl.skeletons.formats.raw_files import RawFile
from c2vl.skeletons.rejected import RejectedError
from c2vl.support.errors import UserError, not_utf8, not_utf8_at

_MOST_BYTES = 1 << 20  # real label files have some 400 bytes, split files 20 kB
_MOST_FRAME = 10**9
_LIST = re.compile(r"cross[-_ ]?(subject|view)(_v2)?\.txt", re.IGNORECASE)
_SPLITS = {"subject": "xsub", "view": "xview"}


@dataclass(frozen=True)
class LabelRow:
    """A row of a label file.

    Attributes:
        number: which row, from 1; blank lines are none.
        line: its line, from 1.
        start: first frame, from 0.
        end: last frame + 1; may lie beyond the video.
        fault: why the row cannot be used; the fields above mean nothing then.
    """

    number: int
    line: int
    label: int = -1
    start: int = -1
    end: int = -1
    fault: str = ""


def read_labels(file: RawFile, classes: int, frames: int) -> list[LabelRow]:
    """Read the rows ``class,start,end,confidence`` of a label file."""
    try:
        text = file.read(_MOST_BYTES).decode()
    except UnicodeDecodeError as error:
        line, remedy = not_utf8_at(error)
        raise RejectedError(remedy, line) from None
    lines = [(line, row) for line, row in enumerate(text.split("\n"), start=1) if row.strip()]
    return [
        _row(row, number, line, classes, frames)
        for number, (line, row) in enumerate(lines, start=1)
    ]


def _row(text: str, number: int, line: int, classes: int, frames: int) -> LabelRow:
    fields = text.split(",")
    if len(fields) != 4:
        return LabelRow(number, line, fault=f"{len(fields)} fields, expected 4")
    try:
        label, start, end = (_whole_number(field) for field in fields[:3])
    except ValueError as error:
        return LabelRow(number, line, fault=str(error))
    fault = ""
    if not 1 <= label <= classes:
        fault = f"class {label} is outside 1..{classes}"
    elif start < 0:
        fault = f"start {start} is before the video"
    elif start >= end:
        fault = f"no frame from start {start} to end {end}"
    elif start >= frames:
        fault = f"start {start} is after the end of the video, which has {frames} frames"
    return LabelRow(number, line, label - 1, start, end, fault)


def _whole_number(field: str) -> int:
    """Parse a whole number, which may be written with a point ("33.000")."""
    word = field.strip()
    if not re.fullmatch(r"[+-]?\d{1,12}(\.\d{0,12})?", word, re.ASCII):
        raise ValueError(f'"{word[:20]}" is not a whole number')
    value = float(word)
    if not value.is_integer() or abs(value) > _MOST_FRAME:
        raise ValueError(f'"{word[:20]}" is not a whole number up to {_MOST_FRAME}')
    return int(value)


def part_lists(files: list[RawFile], video: re.Pattern[str]) -> dict[str, dict[str, str]]:
    """Read the split files among ``files``: split → video → "train" or "test".

    A split file has a heading line for training and a line of comma-separated video names, then the
    same for validation or test.

    Args:
        video: what a video's name is; others (of the other phase) are passed over.

    Raises:
        UserError: a heading is neither, a name stands before the first heading, or a video is in
            both parts.
    """
    splits: dict[str, dict[str, str]] = {}
    for file in files:
        match = _LIST.fullmatch(file.base)
        if match is None:
            continue
        parts = splits.setdefault(_SPLITS[match[1].lower()], {})
        for name, part, line in _names(file):
            if video.fullmatch(name) and parts.setdefault(name, part) != part:
                raise UserError(f"{file.name}, line {line}: {name} is in both parts")
    return splits


def _names(file: RawFile) -> list[tuple[str, str, int]]:
    try:
        text = file.read(_MOST_BYTES).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{file.name}{not_utf8(error)}") from None
    except OSError as error:
        raise UserError(f"{file.name}: cannot be read as a list of videos: {error}") from None
    found = []
    part = ""
    for line, row in enumerate(text.split("\n"), start=1):
        words = [word.strip() for word in row.split(",") if word.strip()]
        if len(words) == 1 and not re.search(r"\d", words[0]):
            heading = words[0].lower()
            part = "train" if "train" in heading else "test"
            if part == "test" and "val" not in heading and "test" not in heading:
                raise UserError(
                    f'{file.name}, line {line}: "{words[0][:40]}" heads neither training nor '
                    "validation videos"
                )
        elif words and not part:
            raise UserError(
                f'{file.name}, line {line}: video names before a heading "Training videos:"'
            )
        else:
            found += [(word.removesuffix(".txt"), part, line) for word in words]
    return found
