"""Writers of motion capture, from the formats' descriptions: nothing here is the readers' code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.skeletons.datasets.writers import Written, person, put

# Name in the file, parent, whether it is a joint of the body.
RIG = [
    ("joint_Root", "", False),
    ("Hips", "joint_Root", True),
    ("Spine", "Hips", True),
    ("Chest", "Spine", True),
    ("Neck", "Chest", True),
    ("Head", "Neck", True),
]
_CHAINS = ("Chest Shoulder UpperArm LowerArm Hand Index1", "Hips UpperLeg LowerLeg Foot Toes")
for _chain in _CHAINS:  # parents before children, depth first, as files have them
    _parent, *_parts = _chain.split()
    for _side in "LR":
        _joints = [f"{part}_{_side}" for part in _parts]
        _above = [_parent, *_joints]
        RIG += [(one, up, "Index" not in one) for one, up in zip(_joints, _above, strict=False)]
_NAMES = [name for name, _, _ in RIG]
_H36M = """
Hips UpperLeg_R LowerLeg_R Foot_R UpperLeg_L LowerLeg_L Foot_L Spine - Neck Head
UpperArm_L LowerArm_L Hand_L UpperArm_R LowerArm_R Hand_R
"""  # the joints of this rig in the order of layout h36m17; the thorax is between the shoulders


def _h36m(places: np.ndarray) -> np.ndarray:
    def of(name: str) -> np.ndarray:
        if name == "-":
            return (of("UpperArm_L") + of("UpperArm_R")) / 2
        return places[:, _NAMES.index(name)]

    return np.stack([of(name) for name in _H36M.split()], axis=1)[None]


def bvh_lines(places: np.ndarray, seconds: float) -> list[str]:
    """Write joints (T, V, 3) as position channels, with rotations of zero."""

    def joint(name: str, depth: int) -> list[str]:
        pad = "\t" * depth
        lines = [f"{pad}{'ROOT' if not depth else 'JOINT'} {name}", pad + "{"]
        lines += [f"{pad}\tOFFSET 7.0 -1e1 0.5"]
        lines += [f"{pad}\tCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation "]
        children = [child for child, parent, _ in RIG if parent == name]
        for child in children:
            lines += joint(child, depth + 1)
        if not children:
            lines += [f"{pad}\tEnd Site", pad + "\t{", f"{pad}\t\tOFFSET 0 1 0", pad + "\t}"]
        return [*lines, pad + "}"]

    head = joint("joint_Root", 0)
    order = [line.split()[1] for line in head if line.split()[0] in ("ROOT", "JOINT")]
    parents = {name: parent for name, parent, _ in RIG}
    rows = []
    for frame in places:
        at = dict(zip(_NAMES, frame, strict=True))
        numbers = []
        for name in order:
            parent = at[parents[name]] if parents[name] else 0 * at[name]
            numbers += [*(at[name] - parent), 0, 0, 0]
        rows.append(" ".join(f"{number:.6f}" for number in numbers) + " ")
    motion = ["MOTION", f"Frames: {len(places)}", f"Frame Time: {seconds:.7f}"]
    return ["HIERARCHY", *head, *motion, *rows]


def _walk(seed: int, frames: int) -> np.ndarray:
    """Return places (T, V, 3) of which every difference has few binary digits: sums are exact."""
    return np.round(person(np.random.default_rng(seed), frames, len(RIG)) * 64) / 64


def write_bvh(folder: Path, end: str) -> list[Written]:
    kept = [name for name, _, body in RIG if body]
    written = []
    for number, frames in enumerate((9, 12)):
        places = _walk(number, frames)
        put(folder / "walks" / f"take {number}.bvh", bvh_lines(places, 1 / 30), end)
        joints = places[None][:, :, [_NAMES.index(name) for name in kept]]
        written.append(Written(f"take {number}", joints))
    return written


def write_bvh_listed(folder: Path, end: str) -> list[Written]:
    """At 60 frames a second, then at 30: the second has a frame between each two, the mean."""
    rows = ["id,label,subject,split_mine,file", "one,run,1,train,a.BVH", "two,walk,2,test,b.bvh"]
    put(folder / "sequences.csv", rows, end)
    fast, slow = _walk(5, 8), _walk(6, 5)
    put(folder / "a.BVH", bvh_lines(fast, 1 / 60), end)
    put(folder / "b.bvh", bvh_lines(slow, 1 / 30), end)
    between = np.empty((9, *slow.shape[1:]))
    between[::2], between[1::2] = slow, (slow[1:] + slow[:-1]) / 2
    facts = ({"label": 0, "subject": 1, "parts": {"mine": "train"}},
             {"label": 1, "subject": 2, "parts": {"mine": "test"}})  # fmt: skip
    return [
        Written("one", _h36m(fast), facts[0]),
        Written("two", _h36m(between), facts[1]),
    ]


def _write_texts(folder: Path, end: str, joints: int, fps: float, unit: float) -> list[Written]:
    rng = np.random.default_rng(31)
    (folder / "new_joints").mkdir(parents=True)
    written = []
    for name, frames in (("000007", 60), ("M000007", 60), ("000012", 45)):
        places = person(rng, frames, joints) / unit
        np.save(folder / "new_joints" / f"{name}.npy", places.astype(np.float32))
        metres = (places.astype(np.float32).astype(np.float64) * unit)[None]
        number = int(name.removeprefix("M"))
        mine = {"official": "train", "official_val": "train"}
        facts: dict[str, object] = {"setup": number, "parts": mine}
        if name == "000012":
            facts["parts"] = {"official": "test"}
        lines = [
            "a person waves.#a/DET person/NOUN wave/VERB#0.0#0.0",
            "waving#waving/VERB#nan#nan",
        ]
        if name == "000012":
            lines += ["then sits#then/ADV sits/VERB#1.0#2.0", ""]
            start, stop = round(fps), round(2 * fps)
            cut = facts | {"start": start, "end": stop}
            written.append(Written("000012@1-2", metres[:, start:stop], cut))
        put(folder / "texts" / f"{name}.txt", lines, end)
        written.append(Written(name, metres, facts))
    put(folder / "train.txt", ["000007", "M000007"], end)
    put(folder / "test.txt", ["000012"], end)
    return written


def write_humanml3d(folder: Path, end: str) -> list[Written]:
    return _write_texts(folder, end, 22, 20.0, 1.0)


def write_kit(folder: Path, end: str) -> list[Written]:
    return _write_texts(folder, end, 21, 12.5, 1e-3)


def _seen(seed: int, frames: int, joints: int) -> np.ndarray:
    """Places (T, V, 3) that JSON and float32 hold exactly."""
    return np.round(person(np.random.default_rng(seed), frames, joints) * 256) / 256


def write_mediapipe(folder: Path, end: str) -> list[Written]:
    """Two recordings; landmarks in the camera's axes, y down. Nobody is in the fourth frame."""
    written = []
    for number in range(2):
        places = _seen(number, 9, 33)
        frames: list[dict[str, object]] = []
        for frame in places * [1, -1, -1]:
            marks = [dict(zip("xyz", map(float, at), strict=True), visibility=0.5) for at in frame]
            frames.append({"pose_world_landmarks": [marks], "pose_landmarks": [[{"x": 1}]]})
        frames.insert(3, {"pose_world_landmarks": [], "pose_landmarks": []})
        put(
            folder / f"wave {number}.json",
            json.dumps({"frames": frames}, indent=1).split("\n"),
            end,
        )
        written.append(Written(f"wave {number}", places[None]))
    return written


def write_openpose(folder: Path, end: str) -> list[Written]:
    """3D, a frame a file, with a table; a joint is not seen between two frames."""
    rows = ["id,label,subject,split_mine,file", "one,run,1,train,a.json", "two,walk,2,test,b.json"]
    put(folder / "sequences.csv", rows, end)
    written = []
    for number, (id_, name) in enumerate((("one", "a"), ("two", "b"))):
        places = _seen(4 + number, 12, 25)
        places[3, 7] = (places[2, 7] + places[4, 7]) / 2
        for at, frame in enumerate(places * [1, -1, -1]):
            joints = np.concatenate([frame, np.ones((25, 1))], axis=1)
            if at == 3:
                joints[7] = 0
            people = [{"person_id": [-1], "pose_keypoints_3d": joints.ravel().tolist()}]
            text = json.dumps({"version": 1.3, "people": people}, indent=1)
            put(folder / f"{name}_{at:012d}_keypoints.json", text.split("\n"), end)
        facts = {
            "label": number,
            "subject": 1 + number,
            "parts": {"mine": ("train", "test")[number]},
        }
        written.append(Written(id_, places[None], facts))
    return written
