"""Motion capture in BVH files (:mod:`c2vl.skeletons.formats.bvh`), of any rig.

The first file's hierarchy decides which joints are taken: those of the body whose names are known
(:mod:`c2vl.skeletons.joint_names`), or those of ``--layout``. Files of another frame rate than the
first, or than ``--fps``, are resampled. Files do not name their unit, which is mostly cm.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from c2vl.skeletons.datasets.base import Found, Item, Options, Reader, whole_item
from c2vl.skeletons.datasets.recordings import (
    given_layout,
    items_of,
    joints_taken,
    resampled,
    taken_joints,
)
from c2vl.skeletons.formats.bvh import read_bvh
from c2vl.skeletons.formats.raw_files import list_files
from c2vl.skeletons.rejected import RejectedError
from c2vl.skeletons.sequence import Sequence
from c2vl.support.errors import UserError

_MOST_BYTES = 512 << 20  # ten minutes of 200 joints at 120 frames a second


def discover(source: Path, options: Options) -> Found:
    """Read the first file, and find the others."""
    files = list_files(source)
    motions = [file for file in files if file.base.lower().endswith(".bvh")]
    if not motions:
        raise UserError(f"{source}: there is no .bvh file in it")
    first = motions[0]
    try:
        motion = read_bvh(first.read(_MOST_BYTES))
    except (RejectedError, OSError) as error:
        raise UserError(f"{first.name}: the first file must be readable: {error}") from None
    names = [joint.name for joint in motion.joints]
    parents = [joint.parent for joint in motion.joints]
    wanted = given_layout(options.layout) if options.layout is not None else None
    layout, take = taken_joints(wanted, names, parents, first.name)
    fps = options.fps or motion.rate
    facts = {"take": take, "fps": fps}
    items, rejected, classes, split = items_of(source, files, ".bvh", facts)
    return Found(items, layout, tuple(classes), split, fps, tuple(rejected))


def read(item: Item) -> Iterator[Sequence]:
    """Read one file: (1, T, V, 3) in its own unit."""
    facts = dict(item.facts)
    take, fps = facts.pop("take"), facts.pop("fps")
    motion = read_bvh(item.file.read(_MOST_BYTES))
    names = [joint.name for joint in motion.joints]
    joints = joints_taken(motion.positions(), names, take)[None]
    yield whole_item(item, resampled(joints, motion.rate, fps), **facts)


BVH = Reader(
    "motion capture (BVH)", discover, read, frozenset({"layout", "fps"}), version=2, unit="cm"
)
