"""Writers of every format, from its description alone: nothing here is the readers' code."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
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


def write_ntu(folder: Path, end: str, shortest: int = 24) -> list[Written]:
    rng = np.random.default_rng(1)
    written = []
    for number, (setup, camera, subject, replication, action) in enumerate(
        [(1, 1, 3, 1, 1), (1, 2, 3, 2, 1), (2, 3, 8, 1, 5)]
    ):
        name = f"S{setup:03d}C{camera:03d}P{subject:03d}R{replication:03d}A{action:03d}"
        frames = shortest + 3 * number
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


def write_ntu_short(folder: Path, end: str) -> list[Written]:
    return write_ntu(folder, end, shortest=3)


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


def write_pku1(folder: Path, end: str, views: str = "LMR", frames: int = 40) -> list[Written]:
    videos = [(f"{number:04d}-{view}", number) for number in (2, 291) for view in views]
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
            frames,
        )
    ]


def write_pku1_short(folder: Path, end: str) -> list[Written]:
    return write_pku1(folder, end, views="M", frames=10)


def write_pku2_short(folder: Path, end: str) -> list[Written]:
    return write_pku2(folder, end, frames=10)


def write_pku2(folder: Path, end: str, frames: int = 40) -> list[Written]:
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
            frames,
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
    frames: int,
) -> list[Written]:
    rng = np.random.default_rng(30 + number)
    joints = two(rng, frames, 25)
    rows = [(12, 0, frames // 2), (51, frames // 2, frames - 3), (1 + number, frames - 2, frames)]
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


# Arrays that others publish


def padded(joints: Joints, frames: int, bodies: int) -> Joints:
    """Return (bodies, frames, V, 3) with zeros behind."""
    out = np.zeros((bodies, frames, *joints.shape[2:]))
    out[: joints.shape[0], : joints.shape[1]] = joints
    return out


def _samples(joints: int, seed: int, frames: int) -> list[Joints]:
    rng = np.random.default_rng(seed)
    samples = [person(rng, length, joints)[None] for length in (frames, frames - 3, 1)]
    return [*samples, two(rng, frames - 1, joints)]


NTU_SAMPLES = [
    ("S001C001P001R001A001", {"label": 0, "subject": 1, "camera": 1, "setup": 1, "replication": 1}),
    (
        "S002C003P008R002A060",
        {"label": 59, "subject": 8, "camera": 3, "setup": 2, "replication": 2},
    ),
    (
        "S017C002P040R001A027",
        {"label": 26, "subject": 40, "camera": 2, "setup": 17, "replication": 1},
    ),
    (
        "S003C001P002R002A050",
        {"label": 49, "subject": 2, "camera": 1, "setup": 3, "replication": 2},
    ),
]
GIVEN = {"train": "train", "val": "test", "test": "test"}


def write_aimclr(folder: Path, end: str, protocol: int = 2) -> list[Written]:
    """float32 (N, 3, T, V, 2), labels as a pickle of names and numbers."""
    folder = folder / "xsub"
    folder.mkdir(parents=True)
    written = []
    for part, names in (("train", NTU_SAMPLES[:3]), ("val", NTU_SAMPLES[3:])):
        samples = _samples(25, len(part), 50)[: len(names)]
        array = np.stack([padded(joints, 50, 2).transpose(3, 1, 2, 0) for joints in samples])
        np.save(folder / f"{part}_position.npy", array.astype(np.float32))
        labels = [facts["label"] for _, facts in names]
        table = [f"{name}.skeleton" for name, _ in names], labels
        (folder / f"{part}_label.pkl").write_bytes(pickle.dumps(table, protocol))
        for joints, (name, facts) in zip(samples, names, strict=True):
            written.append(Written(name, joints, {**facts, "parts": {"given": GIVEN[part]}}))
    return written


def write_aimclr_unnamed(folder: Path, end: str) -> list[Written]:
    """Labels as arrays, and no sample names."""
    written = []
    for part in ("train", "val"):
        samples = _samples(25, len(part), 50)
        array = np.stack([padded(joints, 50, 2).transpose(3, 1, 2, 0) for joints in samples])
        np.save(folder / f"{part}_position.npy", array.astype(np.float32))
        np.save(folder / f"{part}_label.npy", np.array([3, 0, 2, 1]))
        for row, joints in enumerate(samples):
            facts = {"label": [3, 0, 2, 1][row], "parts": {"given": GIVEN[part]}}
            written.append(Written(f"{part}-{row:06d}", joints, facts))
    return written


def write_cmd(folder: Path, end: str) -> list[Written]:
    """CMD's: 2s-AGCN's names and padding by repetition, and how many frames are none."""
    written = []
    for part in ("train", "val"):
        samples = _samples(25, len(part), 40)
        arrays = []
        for joints in samples:
            frames = np.arange(64) % joints.shape[1]
            arrays.append(padded(joints[:, frames], 64, 2).transpose(3, 1, 2, 0))
        np.save(folder / f"{part}_data_joint.npy", np.stack(arrays).astype(np.float32))
        np.save(folder / f"{part}_num_frame.npy", [joints.shape[1] for joints in samples])
        np.save(folder / f"{part}_label.npy", np.array([3, 0, 2, 1]))
        for row, joints in enumerate(samples):
            facts = {"label": [3, 0, 2, 1][row], "parts": {"given": GIVEN[part]}}
            written.append(Written(f"{part}-{row:06d}", joints, facts))
    return written


def write_ctrgcn(folder: Path, end: str, packed: bool = False, joints: int = 25) -> list[Written]:
    """(N, T, 150), two bodies beside each other and zeros behind; one-hot labels."""
    arrays = {}
    written = []
    for part in ("train", "test"):
        samples = _samples(joints, 7 * len(part), 30)
        flat = [
            padded(sample, 60, 2).transpose(1, 0, 2, 3).reshape(60, -1).astype(np.float32)
            for sample in samples
        ]
        arrays[f"x_{part}"] = np.stack(flat)
        arrays[f"y_{part}"] = np.eye(60)[[5, 59, 0, 7]]
        for row, sample in enumerate(samples):
            facts = {"label": [5, 59, 0, 7][row], "parts": {"given": part}}
            written.append(Written(f"{part}-{row:06d}", sample, facts))
    (np.savez_compressed if packed else np.savez)(folder / "NTU60_CS.npz", **arrays)
    return written


def write_ctrgcn_packed(folder: Path, end: str) -> list[Written]:
    return write_ctrgcn(folder, end, packed=True)


def write_ctrgcn_kinect(folder: Path, end: str) -> list[Written]:
    return write_ctrgcn(folder, end, joints=20)


def pyskl(dtype: type, samples: list[Joints], fortran: bool = False) -> dict[str, object]:
    """Return what such a pickle holds, arrays and NumPy scalars among it."""
    annotations = [
        {
            "frame_dir": name,
            "label": facts["label"] if number else np.int64(facts["label"]),
            "total_frames": joints.shape[1],
            "keypoint": np.array(joints, dtype=dtype, order="F" if fortran else "C"),
            "img_shape": (1080, 1920),
            "score": np.float32(0.5),
            "extra": OrderedDict(a=b"\x00\xff", b={1, 2}, c=None, d=1 << 70, e=-5),
        }
        for number, ((name, facts), joints) in enumerate(zip(NTU_SAMPLES, samples, strict=True))
    ]
    names = [name for name, _ in NTU_SAMPLES]
    split = {
        "xsub_train": names[:2],
        "xsub_val": names[2:],
        "xview_train": names[1:],
        "xview_val": names[:1],
    }
    return {"split": split, "annotations": annotations}


def write_pyskl(folder: Path, end: str, protocol: int = 2) -> list[Written]:
    samples = _samples(25, 11, 20)
    content = pyskl(np.float32, samples)
    (folder / "ntu60_3danno.pkl").write_bytes(pickle.dumps(content, protocol))
    parts = [
        {"xsub": "train", "xview": "test"},
        {"xsub": "train", "xview": "train"},
        {"xsub": "test", "xview": "train"},
        {"xsub": "test", "xview": "train"},
    ]
    return [
        Written(name, joints, {**facts, "parts": mine})
        for (name, facts), joints, mine in zip(NTU_SAMPLES, samples, parts, strict=True)
    ]


def write_pyskl5(folder: Path, end: str) -> list[Written]:
    return write_pyskl(folder, end, protocol=5)


def write_pyskl3(folder: Path, end: str) -> list[Written]:
    return write_pyskl(folder, end, protocol=3)


def write_aimclr4(folder: Path, end: str) -> list[Written]:
    return write_aimclr(folder, end, protocol=4)


# A folder of one's own

LAYOUT = """\
name: my_sensor
joints: [pelvis, chest, head, left_shoulder, right_shoulder]
parents: {pelvis: null, chest: pelvis, head: chest, left_shoulder: chest, right_shoulder: chest}
pairs: [[left_shoulder, right_shoulder]]
centre: chest
shoulders: [left_shoulder, right_shoulder]
"""


def write_folder(folder: Path, end: str) -> list[Written]:
    rng = np.random.default_rng(21)
    (folder / "arrays").mkdir(parents=True)
    put(folder / "layout.yaml", LAYOUT.splitlines(), end)
    one, several = person(rng, 8, 5), two(rng, 12, 5)
    np.save(folder / "arrays" / "walk 1.npy", one)
    np.savez_compressed(folder / "arrays" / "b.npz", joints=several, other=np.zeros(3))
    np.savez(folder / "third.npz", several.astype(np.float32))
    np.save(folder / "fourth.npy", np.asfortranarray(one.astype(">f4")))
    rows = (
        "id,label,file,subject,camera,split_xsub,split_mine",
        "first,walk,arrays/walk 1.npy,1,,train,",
        '"second, with a comma",sit,./arrays/b.npz,2,3,test,train',
        "third,walk,,,0,,test",
        "fourth,walk,fourth.npy,7,1,train,",
    )
    put(folder / "sequences.csv", rows, end)
    return [
        Written("first", one[None], {"label": 1, "subject": 1, "parts": {"xsub": "train"}}),
        Written(
            "second, with a comma",
            several,
            {"label": 0, "subject": 2, "camera": 3, "parts": {"xsub": "test", "mine": "train"}},
        ),
        Written("third", several, {"label": 1, "camera": 0, "parts": {"mine": "test"}}),
        Written(
            "fourth",
            one[None],
            {"label": 1, "subject": 7, "camera": 1, "parts": {"xsub": "train"}},
        ),
    ]
