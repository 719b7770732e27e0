"""HumanML3D (Guo et al., CVPR 2022) and its edition of KIT-ML (Plappert et al., 2016).

``new_joints/ID.npy`` (T, V, 3), captions in ``texts/ID.txt``, lists of ids ``train.txt``,
``val.txt``, ``test.txt``. A caption may be about a span of the motion alone: such a span is a
sequence of its own, as in the authors' loader. ``M…`` is the mirrored copy of a motion; both have
one ``setup``, the number of the recording, so that folds grouped by it keep them together.
There are no classes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from c2vl.skeletons.datasets.base import Found, Item, Options, Reader, whole_item
from c2vl.skeletons.formats.motion_captions import WHOLE, is_caption_file, name_of, read_captions
from c2vl.skeletons.formats.npy import ArrayFile
from c2vl.skeletons.formats.raw_files import RawFile, list_files
from c2vl.skeletons.layout import KIT21, SMPL22, JointLayout
from c2vl.skeletons.rejected import Rejected, RejectedError
from c2vl.skeletons.sequence import Sequence
from c2vl.support.errors import UserError, not_utf8

_NAME = re.compile(r"M?(\d{1,9})\.npy")
_MOST_ARRAY = 64 << 20
_MOST_LIST = 16 << 20
_PARTS = {  # the official list → splits of ours; published figures are of the test list
    "train.txt": {"official": "train", "official_val": "train"},
    "val.txt": {"official_val": "test"},
    "test.txt": {"official": "test"},
}
_SHORTEST = 0.1  # seconds: a span that ends after the motion may leave nothing of it


def discover(source: Path, options: Options, *, layout: JointLayout, fps: float) -> Found:
    """Find the motions, each with its captions and the lists that name it."""
    files = list_files(source)
    motions = [
        file
        for file in files
        if _NAME.fullmatch(file.base) and PurePosixPath(file.name).parent.name == "new_joints"
    ]
    if not motions:
        raise UserError(
            f"{source}: no new_joints/000001.npy in it (new_joint_vecs are features, no joints)"
        )
    texts = {file.base.removesuffix(".txt"): file for file in files if is_caption_file(file)}
    parts: dict[str, dict[str, str]] = {}
    rejected = []
    known = {file.base.removesuffix(".npy") for file in motions}
    for file in files:
        if file.base not in _PARTS or is_caption_file(file):
            continue
        listed = _listed(file)
        for name in listed:
            parts.setdefault(name, {}).update(_PARTS[file.base])
        absent = [name for name in listed if name not in known]
        if absent:
            reason = f"{len(absent)} of its {len(listed)} motions have no file, {absent[0]} first"
            rejected.append(Rejected(file.name, reason, left_out=True))
    items = []
    for file in motions:
        name = file.base.removesuffix(".npy")
        facts = {"parts": parts.get(name, {}), "fps": fps, "joints": len(layout.joints)}
        beside = (texts[name],) if name in texts else ()
        items.append(Item(file, beside=beside, facts=facts))
    default = "official" if any("official" in mine for mine in parts.values()) else ""
    return Found(items, layout, (), default, fps, tuple(rejected))


def _listed(file: RawFile) -> list[str]:
    try:
        return file.read(_MOST_LIST).decode("utf-8-sig").split()
    except UnicodeDecodeError as error:
        raise UserError(f"{file.name}{not_utf8(error)}") from None
    except OSError as error:
        raise UserError(f"{file.name}: cannot be read: {error}") from None


def read(item: Item) -> Iterator[Sequence | Rejected]:
    """Read a motion, and each span that has a caption of its own."""
    match = _NAME.fullmatch(item.file.base)
    assert match is not None, "discover chose it by its name"
    facts = item.facts
    joints = ArrayFile(item.file).read(_MOST_ARRAY)
    if joints.ndim != 3 or joints.shape[1:] != (facts["joints"], 3) or joints.dtype.kind != "f":
        expected = f"(frames, {facts['joints']}, 3)"
        raise RejectedError(f"the array is {joints.dtype} {joints.shape}, expected {expected}")
    name = item.file.base.removesuffix(".npy")
    spans = read_captions(item.beside[0]) if item.beside else {}
    for span in spans or (WHOLE,):
        start, end = (round(second * facts["fps"]) for second in span)
        cut = joints[start:end] if span != WHOLE else joints
        if len(cut) < max(1, _SHORTEST * facts["fps"]) and span != WHOLE:
            reason = f"the caption of {span[0]:g} to {span[1]:g} s is about less than 0.1 s of it"
            yield Rejected(item.name, reason, left_out=True)
            continue
        where = {} if span == WHOLE else {"start": start, "end": start + len(cut)}
        more = {"setup": int(match[1]), "parts": facts["parts"], **where}
        yield whole_item(item, cut[None], id=name_of(name, span), **more)


HUMANML3D = Reader("HumanML3D", functools.partial(discover, layout=SMPL22, fps=20.0), read)
KIT_ML = Reader("KIT-ML", functools.partial(discover, layout=KIT21, fps=12.5), read, unit="mm")
