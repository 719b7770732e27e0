"""Northwestern-UCLA (Wang et al., CVPR 2014), the JSON edition that CTR-GCN and others use.

``aAA_sSS_eEE_vVV.json`` (action, subject, execution, view) holds ``{"file_name", "skeletons":
[T][20][3], "label": 1..10}`` of a Kinect v1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.datasets.base import Found, Item, Options, Reader, files_named, whole_item
from c2vl.skeletons.layout import NWUCLA20
from c2vl.skeletons.rejected import RejectedError
from c2vl.skeletons.sequence import Sequence

# the actions that were kept, in the order of the labels
_ACTIONS = {
    1: "pick up with one hand",
    2: "pick up with two hands",
    3: "drop trash",
    4: "walk around",
    5: "sit down",
    6: "stand up",
    8: "donning",
    9: "doffing",
    11: "throw",
    12: "carry",
}
CLASS_NAMES = tuple(_ACTIONS.values())
_LABELS = {action: label for label, action in enumerate(_ACTIONS)}
_NAME = re.compile(r"a(\d{2})_s(\d{2})_e(\d{2})_v(\d{2})\.json")
_MOST_BYTES = 4 << 20  # real files have at most 201 frames, some 300 kB
_JOINTS = 20
_LARGEST = 1e30


def discover(source: Path, options: Options) -> Found:
    """Return the files below the folder or in its zip archives, by name."""
    files = files_named(source, _NAME, "a01_s01_e00_v01.json")
    return Found([Item(file) for file in files], NWUCLA20, CLASS_NAMES, "ucla_xview")


def read(item: Item) -> Iterator[Sequence]:
    """Read one file: joints (1, T, 20, 3), without frames that are all zero."""
    match = _NAME.fullmatch(item.file.base)
    assert match is not None, "discover chose it by its name"
    action, subject, execution, view = (int(group) for group in match.groups())
    if action not in _LABELS:
        raise RejectedError(f"action {action} is none of {', '.join(map(str, _LABELS))}")
    content = _parsed(item.file.read(_MOST_BYTES))
    label = content.get("label")
    if type(label) is not int or not 1 <= label <= len(CLASS_NAMES):
        raise RejectedError(f"label is {_shown(label)}, expected 1..{len(CLASS_NAMES)}")
    if label - 1 != _LABELS[action]:
        raise RejectedError(f"label is {label}, but action {action} is {_LABELS[action] + 1}")
    facts = {"label": label - 1, "subject": subject, "camera": view, "replication": execution}
    name, joints = item.file.base.removesuffix(".json"), _skeletons(content.get("skeletons"))
    yield whole_item(item, joints[None], id=name, **facts)


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text.decode("utf-8-sig"), parse_constant=_not_finite)
    except UnicodeDecodeError as error:
        raise RejectedError(f"not UTF-8 text at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise RejectedError(f"not JSON: {error.msg}", error.lineno) from None
    except RecursionError:
        raise RejectedError("not such JSON: lists within lists without end") from None
    except ValueError as error:  # a whole number of thousands of digits
        if isinstance(error, RejectedError):
            raise
        raise RejectedError(f"not JSON: {error}") from None
    if not isinstance(content, dict):
        raise RejectedError("not a JSON object")
    return content


def _not_finite(word: str) -> NoReturn:
    raise RejectedError(f"a coordinate is not finite: {word}")


def _skeletons(frames: Any) -> NDArray[np.float64]:
    """Convert nested lists to (T, 20, 3); only JSON numbers count as coordinates."""
    if not isinstance(frames, list):
        raise RejectedError("no list of skeletons")
    if not frames:
        raise RejectedError("no frame in the file")
    for number, frame in enumerate(frames, start=1):
        if not isinstance(frame, list) or len(frame) != _JOINTS:
            count = len(frame) if isinstance(frame, list) else "no"
            raise RejectedError(f"frame {number}: {count} joints, expected {_JOINTS}")
        for joint in frame:
            if not isinstance(joint, list) or len(joint) != 3:
                raise RejectedError(f"frame {number}: a joint is not three numbers")
            for value in joint:
                if type(value) not in (int, float) or not -_LARGEST < value < _LARGEST:
                    raise RejectedError(f"frame {number}: {_shown(value)} is no coordinate")
    return np.array(frames, dtype=np.float64)


def _shown(value: Any) -> str:
    """Return a value as a message shows it, always short."""
    if isinstance(value, list | dict):
        return f"a {type(value).__name__}"
    if type(value) is int and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    return repr(value)[:40]


NW_UCLA = Reader("NW-UCLA", discover, read)
