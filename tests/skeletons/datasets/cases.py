"""A small dataset for each reader: how it is written, and what has to be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from c2vl.skeletons.datasets import Options
from tests.skeletons.datasets import mocap_writers, writers
from tests.skeletons.datasets.writers import Written


@dataclass(frozen=True)
class Case:
    """A dataset.

    Attributes:
        reader: its name.
        write: (folder, line end) → what has to be read, in any order.
        options: that it is read with.
        name: where a reader has several.
    """

    reader: str
    write: Callable[[Path, str], list[Written]]
    options: Options = field(default_factory=Options)
    name: str = ""

    def __str__(self) -> str:
        return f"{self.reader} {self.name}".strip()


CASES = [
    Case("ntu60", writers.write_ntu),
    Case("ntu120", writers.write_ntu),
    Case("demo", writers.write_ntu),
    Case("utd-mhad", writers.write_utd),
    Case("pkummd1", writers.write_pku1),
    Case("pkummd2", writers.write_pku2),
    Case("nw-ucla", writers.write_ucla),
    Case("arrays", writers.write_aimclr, name="aimclr"),
    Case("arrays", writers.write_aimclr_unnamed, name="aimclr unnamed"),
    Case("arrays", writers.write_cmd, name="cmd"),
    Case("arrays", writers.write_ctrgcn, name="ctrgcn"),
    Case("arrays", writers.write_ctrgcn_packed, name="ctrgcn packed"),
    Case("arrays", writers.write_ctrgcn_kinect, Options(layout="kinect20"), name="ctrgcn kinect"),
    Case("arrays", writers.write_pyskl, name="pyskl"),
    Case("arrays", writers.write_pyskl5, name="pyskl 5"),
    Case("folder", writers.write_folder),
    Case("bvh", mocap_writers.write_bvh, Options(unit="m")),
    Case("bvh", mocap_writers.write_bvh_listed, Options(layout="h36m17", unit="m"), name="listed"),
    Case("keypoints", mocap_writers.write_mediapipe, name="mediapipe"),
    Case("keypoints", mocap_writers.write_openpose, name="openpose"),
    Case("humanml3d", mocap_writers.write_humanml3d),
    Case("kit-ml", mocap_writers.write_kit),
]


_LONG = ("ntu60", "ntu120", "demo")
_OTHERS = (*_LONG, "pkummd1", "pkummd2")
FUZZED = [
    *(case for case in CASES if case.reader not in _OTHERS),
    *(Case(reader, writers.write_ntu_short) for reader in _LONG),
    Case("pkummd1", writers.write_pku1_short),
    Case("pkummd2", writers.write_pku2_short),
    Case("arrays", writers.write_pyskl3, name="pyskl 3"),
    Case("arrays", writers.write_aimclr4, name="aimclr 4"),
]
"""What fuzzing starts from: small, and with more of the formats' shapes."""
