"""UTD-MHAD, the skeleton part (Chen, Jafari, Kehtarnavaz, ICIP 2015): MATLAB files of a Kinect v1.

``aA_sS_tT_skeleton.mat`` holds ``d_skel``, (20 joints, 3, T frames) in metres.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from c2vl.errors import UserError
from c2vl.skeletons.layout import KINECT20
from c2vl.skeletons.readers.base import Reader, RejectedError
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
_MAX_BYTES = 16 << 20  # a real file has some 40 kB


def discover(source: Path) -> list[Path]:
    """Return the files below the dataset's folder or its ``Skeleton`` folder, in numeric order."""
    folder = source / "Skeleton" if (source / "Skeleton").is_dir() else source
    if not folder.is_dir():
        raise UserError(f"{source}: no such folder; give the folder that holds Skeleton/")
    found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    if not found:
        raise UserError(f"{folder}: no file is named like a1_s1_t1_skeleton.mat")
    return [path for _, path in sorted(found, key=lambda pair: [int(g) for g in pair[0].groups()])]


def read(path: Path) -> Sequence:
    """Read one file: joints (1, T, 20, 3).

    Raises:
        RejectedError: not MATLAB, another shape, an unknown action, or numbers that are not finite.
    """
    from scipy.io import loadmat

    match = _NAME.fullmatch(path.name)
    if match is None:
        raise RejectedError("the name is not aA_sS_tT_skeleton.mat")
    action, subject, trial = (int(group) for group in match.groups())
    if not 1 <= action <= len(CLASS_NAMES):
        raise RejectedError(f"action {action} is outside 1..{len(CLASS_NAMES)}")
    if path.stat().st_size > _MAX_BYTES:
        raise RejectedError(f"larger than {_MAX_BYTES} bytes")
    try:
        raw = loadmat(path, variable_names=["d_skel"])["d_skel"]
    except KeyError:
        raise RejectedError("no variable d_skel") from None
    except Exception as error:  # scipy raises many kinds on damaged files
        raise RejectedError(f"not a MATLAB file: {error}") from None
    if raw.ndim != 3 or raw.shape[:2] != (20, 3) or raw.shape[2] < 1 or raw.dtype.kind not in "fiu":
        raise RejectedError(f"d_skel is {raw.dtype} {raw.shape}, expected numbers (20, 3, T)")
    joints = np.ascontiguousarray(raw.transpose(2, 0, 1)[None], dtype=np.float32)
    if not np.isfinite(joints).all():
        raise RejectedError("a coordinate is not finite")
    if not joints.any():
        raise RejectedError("every coordinate is zero")
    return Sequence(
        id=path.name.removesuffix("_skeleton.mat"),
        joints=joints,
        label=action - 1,
        subject=subject,
        replication=trial,
        source=path.name,
    )


UTD_MHAD = Reader("utd-mhad", "UTD-MHAD", KINECT20, CLASS_NAMES, "utd_xsub", discover, read)
