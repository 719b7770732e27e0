"""UTD-MHAD, the skeleton part (Chen, Jafari, Kehtarnavaz, ICIP 2015): MATLAB files of a Kinect v1.

``aA_sS_tT_skeleton.mat`` holds ``d_skel``, (20 joints, 3, T frames) in metres.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from c2vl.skeletons.datasets.base import Found, Item, Options, Reader, files_named, whole_item
from c2vl.skeletons.formats.matlab import read_array
from c2vl.skeletons.layout import KINECT20
from c2vl.skeletons.rejected import RejectedError
from c2vl.skeletons.sequence import Sequence

# fmt: off
CLASS_NAMES = (
    "swipe_left", "swipe_right", "wave", "clap", "throw", "arm_cross", "basketball_shoot", "draw_x",
    "draw_circle_cw", "draw_circle_ccw", "draw_triangle", "bowling", "boxing", "baseball_swing",
    "tennis_swing", "arm_curl", "tennis_serve", "push", "knock", "catch", "pickup_throw", "jog",
    "walk", "sit2stand", "stand2sit", "lunge", "squat",
)
# fmt: on
_NAME = re.compile(r"a(\d{1,2})_s(\d{1,2})_t(\d{1,2})_skeleton\.mat")
_MOST_BYTES = 1 << 20  # a real file has some 40 kB, the longest 125 frames
_MOST_NUMBERS = 16 << 20  # bytes: compressed, it could hold a thousand times more


def discover(source: Path, options: Options) -> Found:
    """Return the files below the folder, or in its zip, in numeric order."""
    files = files_named(source, _NAME, "a1_s1_t1_skeleton.mat")
    files.sort(key=lambda file: ([int(n) for n in re.findall(r"\d+", file.base)], file.name))
    return Found([Item(file) for file in files], KINECT20, CLASS_NAMES, "utd_xsub")


def read(item: Item) -> Iterator[Sequence]:
    """Read one file: joints (1, T, 20, 3)."""
    match = _NAME.fullmatch(item.file.base)
    assert match is not None, "discover chose it by its name"
    action, subject, trial = (int(group) for group in match.groups())
    if not 1 <= action <= len(CLASS_NAMES):
        raise RejectedError(f"action {action} is outside 1..{len(CLASS_NAMES)}")
    raw = read_array(item.file.read(_MOST_BYTES), "d_skel", _MOST_NUMBERS)
    if raw.ndim != 3 or raw.shape[:2] != (20, 3) or raw.shape[2] < 1:
        raise RejectedError(f"d_skel is {raw.shape}, expected (20, 3, frames)")
    name = item.file.base.removesuffix("_skeleton.mat")
    facts = {"id": name, "label": action - 1, "subject": subject, "replication": trial}
    yield whole_item(item, raw.transpose(2, 0, 1)[None], **facts)


UTD_MHAD = Reader("UTD-MHAD", discover, read)
