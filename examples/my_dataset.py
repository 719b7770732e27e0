"""A dataset: text files of a sensor with three joints (record.py writes some)."""

import re

import numpy as np

from c2vl.registry import register
from c2vl.skeletons import datasets

NAME = re.compile(r"(wave|clap)_(\d+)_\d+\.txt")
CLASSES = ("wave", "clap")
BONES = "neck left_shoulder<neck right_shoulder<neck"
LAYOUT = datasets.layout_of("three_joints", BONES, centre="neck")


def discover(source, options):
    files = datasets.files_named(source, NAME, "wave_3_0.txt")
    return datasets.Found([datasets.Item(file) for file in files], LAYOUT, CLASSES)


def read(item):
    name, subject = NAME.fullmatch(item.file.base).groups()
    try:
        numbers = np.array(item.file.read(limit=1 << 20).split(), dtype=float)
        joints = numbers.reshape(1, -1, 3, 3)  # bodies, frames, joints, xyz
    except ValueError as error:
        raise datasets.RejectedError(str(error)) from None
    yield datasets.Sequence(
        id=item.file.base.removesuffix(".txt"),
        joints=datasets.checked(joints),
        label=CLASSES.index(name),
        subject=int(subject),
        source=item.name,
    )


reader = datasets.Reader("Three joints", discover, read)
register("dataset", "three-joints", reader, help="a folder of files like wave_3_0.txt")
