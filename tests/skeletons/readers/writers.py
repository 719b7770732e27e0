"""Writers of every format, from its description alone: nothing here is the readers' code."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

Joints = NDArray[np.float64]


@dataclass
class Written:
    """A sequence that a reader has to return: joints (M, T, V, 3) and what it has to know."""

    id: str
    joints: Joints
    facts: dict[str, object] = field(default_factory=dict)


def person(
    rng: np.random.Generator, frames: int, joints: int, at: float = 0.0, motion: float = 0.01
) -> Joints:
    """Return (T, V, 3), something upright that moves, in numbers of six decimals."""
    shape = rng.uniform(-1, 1, (joints, 3)) * [0.25, 0.9, 0.15] + [at, 0.1, 3]
    return np.round(shape + np.cumsum(rng.normal(0, motion, (frames, joints, 3)), axis=0), 6)


def two(rng: np.random.Generator, frames: int, joints: int) -> Joints:
    """Return (2, T, V, 3): the second moves less, is apart, and comes late."""
    first = person(rng, frames, joints, at=-0.6, motion=0.012)
    second = person(rng, frames, joints, at=0.9, motion=0.004)
    second[: frames // 4] = 0
    return np.stack([first, second])


def put(path: Path, lines: Iterable[str], end: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())


# NTU RGB+D


def ntu_lines(joints: Joints) -> list[str]:
    """Return the lines of a .skeleton file; joints (M, T, 25, 3), zero where a body is absent."""
    lines = [str(joints.shape[1])]
    for frame in joints.transpose(1, 0, 2, 3):
        there = [(number, body) for number, body in enumerate(frame) if body.any()]
        lines.append(str(len(there)))
        for number, body in there:
            lines.append(f"{72057594037931101 + number} 0 1 1 1 1 0 0.0512 -0.273 2")
            lines.append("25")
            for x, y, z in body.tolist():
                lines.append(f"{x:.6f} {y:.6f} {z:.6f} 277.1 191.3 1036.6 519.8 -0.2 0.01 0.9 0 2")
    return lines


def write_ntu(folder: Path, end: str) -> list[Written]:
    rng = np.random.default_rng(1)
    written = []
    for number, (setup, camera, subject, replication, action) in enumerate(
        [(1, 1, 3, 1, 1), (1, 2, 3, 2, 1), (2, 3, 8, 1, 5)]
    ):
        name = f"S{setup:03d}C{camera:03d}P{subject:03d}R{replication:03d}A{action:03d}"
        frames = 24 + 3 * number
        joints = two(rng, frames, 25) if number == 1 else person(rng, frames, 25)[None]
        put(folder / "nturgb+d_skeletons" / f"{name}.skeleton", ntu_lines(joints), end)
        facts = {
            "label": action - 1,
            "subject": subject,
            "camera": camera,
            "setup": setup,
            "replication": replication,
        }
        written.append(Written(name, joints, facts))
    return written


# UTD-MHAD


def write_utd(folder: Path, end: str) -> list[Written]:
    rng = np.random.default_rng(2)
    (folder / "Skeleton").mkdir(parents=True)
    written = []
    for action, subject, trial, frames in ((1, 1, 1, 9), (2, 8, 4, 12), (27, 3, 2, 1)):
        joints = person(rng, frames, 20)
        name = f"a{action}_s{subject}_t{trial}"
        savemat(folder / "Skeleton" / f"{name}_skeleton.mat", {"d_skel": joints.transpose(1, 2, 0)})
        facts = {"label": action - 1, "subject": subject, "replication": trial}
        written.append(Written(name, joints[None], facts))
    return written


# PKU-MMD


def pku_lines(joints: Joints) -> list[str]:
    """Return a row of 150 numbers a frame; joints (2, T, 25, 3)."""
    return [
        " ".join(f"{number:.6f}" for number in frame.ravel().tolist())
        for frame in joints.transpose(1, 0, 2, 3)
    ]


def write_pku1(folder: Path, end: str) -> list[Written]:
    videos = [(f"{number:04d}-{view}", number) for number in (2, 291) for view in "LMR"]
    for name, part in (("cross-subject.txt", 2), ("cross-view.txt", 0)):
        train = [
            video
            for video, number in videos
            if (number == part if part else not video.endswith("L"))
        ]
        test = [video for video, _ in videos if video not in train]
        headings = "Training videos: ", "Validataion videos: "  # as the official files have it
        lines = headings[0], ", ".join(train) + ", ", headings[1], ", ".join([*test, "0999-L"])
        put(folder / "Split" / name, lines, end)
    return [
        written
        for number, (video, recording) in enumerate(videos)
        for written in _write_pku(
            folder,
            end,
            video,
            number,
            "R{setup:04d}V{view:03d}C{label:03d}L{row:03d}",
            {"setup": recording, "subject": -1},
            {
                "xsub": "train" if recording == 2 else "test",
                "xview": "test" if video.endswith("L") else "train",
            },
        )
    ]


def write_pku2(folder: Path, end: str) -> list[Written]:
    videos = [(1, 1, "L"), (1, 1, "R"), (26, 13, "M")]
    names = [f"A{a:02d}N{n:02d}-{view}" for a, n, view in videos]
    put(
        folder / "cross_subject_v2.txt",
        ("Training videos:", ",".join(names[:2]), "Validation videos:", names[2]),
        end,
    )
    put(
        folder / "cross_view_v2.txt",
        ("Training videos:", ", ".join(names[1:]), "Testing videos:", ""),
        end,
    )
    parts: list[dict[str, str]] = [
        {"xsub": "train"},
        {"xsub": "train", "xview": "train"},
        {"xsub": "test", "xview": "train"},
    ]
    return [
        written
        for number, (a, n, _) in enumerate(videos)
        for written in _write_pku(
            folder,
            end,
            names[number],
            number,
            f"A{a:03d}N{n:03d}V{{view:03d}}C{{label:03d}}L{{row:03d}}",
            {"setup": a * 100 + n, "subject": n},
            parts[number],
        )
    ]


def _write_pku(
    folder: Path,
    end: str,
    video: str,
    number: int,
    name: str,
    facts: dict[str, object],
    parts: dict[str, str],
) -> list[Written]:
    rng = np.random.default_rng(30 + number)
    joints = two(rng, 40, 25)
    rows = [(12, 0, 20), (51, 20, 33), (1 + number, 34, 40)]
    put(folder / "skeleton" / f"{video}.txt", pku_lines(joints), end)
    put(folder / "label" / f"{video}.txt", (f"{c},{a},{b},2" for c, a, b in rows), end)
    view = " LMR".index(video[-1])
    return [
        Written(
            name.format(view=view, label=label, row=row, **facts),
            joints[:, start:stop],
            {
                **facts,
                "label": label - 1,
                "camera": view,
                "replication": row,
                "start": start,
                "end": stop,
                "parts": parts,
            },
        )
        for row, (label, start, stop) in enumerate(rows, start=1)
    ]


# NW-UCLA


def write_ucla(folder: Path, end: str) -> list[Written]:
    rng = np.random.default_rng(4)
    (folder / "all_sqe").mkdir(parents=True)
    written = []
    for action, label, subject, execution, view, frames in (
        (1, 1, 1, 0, 1, 7),
        (6, 6, 10, 2, 2, 1),
        (8, 7, 2, 1, 3, 5),
        (12, 10, 3, 4, 1, 4),
    ):
        joints = person(rng, frames, 20)
        name = f"a{action:02d}_s{subject:02d}_e{execution:02d}_v{view:02d}"
        content = {"file_name": name, "skeletons": joints.tolist(), "label": label}
        text = json.dumps(content, indent=1 if action == 8 else None).replace("\n", end)
        (folder / "all_sqe" / f"{name}.json").write_bytes(text.encode())
        facts = {
            "label": label - 1,
            "subject": subject,
            "camera": view,
            "replication": execution,
        }
        written.append(Written(name, joints[None], facts))
    return written
