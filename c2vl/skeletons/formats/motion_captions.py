"""Reads the caption files of HumanML3D and KIT-ML: ``caption#word/POS word/POS#start#end``, a line.

Start and end are seconds; 0 and 0, or nan, mean the whole motion.
"""

from __future__ import annotations

import math
from pathlib import PurePosixPath

from c2vl.skeletons.formats.raw_files import RawFile
from c2vl.skeletons.rejected import RejectedError
from c2vl.support.errors import not_utf8_at

Span = tuple[float, float]
"""Start and end of what a caption is about, in seconds."""
WHOLE: Span = (0.0, 0.0)

_MOST_BYTES = 1 << 20  # a real file has some 600 bytes


def read_captions(file: RawFile) -> dict[Span, list[str]]:
    """Read the captions of a motion, by the span of time that they are about.

    Raises:
        RejectedError: a line is none of a caption; it names the line.
    """
    try:
        text = file.read(_MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number, remedy = not_utf8_at(error)
        raise RejectedError(remedy, number) from None
    found: dict[Span, list[str]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        caption, *rest = line.split("#")
        try:
            _, start, end = rest
            span = float(start), float(end)
        except ValueError:
            raise RejectedError("expected caption#words#start#end", number) from None
        if any(math.isnan(second) for second in span):
            span = WHOLE
        if not caption.strip():
            raise RejectedError("the caption is empty", number)
        if not (span == WHOLE or 0 <= span[0] < span[1] < math.inf):
            raise RejectedError(f"no span of time: {start} to {end}", number)
        found.setdefault(span, []).append(caption.strip())
    return found


def name_of(motion: str, span: Span) -> str:
    """Return the id of a motion's span: the motion's own for the whole, else ``000012@1.5-3``."""
    return motion if span == WHOLE else f"{motion}@{span[0]:g}-{span[1]:g}"


def is_caption_file(file: RawFile) -> bool:
    """Whether a file is ``texts/ID.txt``."""
    return file.base.endswith(".txt") and PurePosixPath(file.name).parent.name == "texts"
