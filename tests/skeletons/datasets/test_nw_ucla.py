from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from c2vl.skeletons.datasets import Options, Rejected, get_reader, read_item
from c2vl.skeletons.sequence import Sequence

READER = get_reader("nw-ucla")
GOOD: dict[str, Any] = {
    "file_name": "a08_s01_e00_v03",
    "skeletons": [[[0.1, 0.2, 3.0 + joint / 9] for joint in range(20)] for _ in range(3)],
    "label": 7,
}


def read(folder: Path, text: str | bytes, name: str = "a08_s01_e00_v03.json") -> Any:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    items = READER.discover(folder, Options()).items
    assert len(items) == 1
    (one,) = read_item(READER.read, items[0])
    return one


def test_empty_frames_are_dropped(tmp_path: Path) -> None:
    frames = GOOD["skeletons"]
    padded = [frames[0], [[0, 0, 0]] * 20, frames[1], [[0.0, 0.0, 0.0]] * 20]
    one = read(tmp_path, json.dumps({**GOOD, "skeletons": padded}))
    assert isinstance(one, Sequence)
    assert one.joints.shape == (1, 2, 20, 3) and one.decisions == {"empty frames dropped": 2}


def changed(**fields: Any) -> str:
    return json.dumps({**GOOD, **fields})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(label=8), "label is 8, but action 8 is 7"),
        (changed(label="7"), "label is '7'"),
        (changed(label=True), "label is True"),
        (changed(label=11), "label is 11"),
        (changed(skeletons=[]), "no frame"),
        (changed(skeletons=7), "no list"),
        (changed(skeletons=[*GOOD["skeletons"][:1], [[0, 0, 1]] * 19]), "frame 2: 19 joints"),
        (changed(skeletons=[[[0, 0, 1]] * 19 + [[0, 0]]]), "not three numbers"),
        (changed(skeletons=[[[0, 0, "1"]] * 20]), "'1' is no coordinate"),
        (changed(skeletons=[[[0, 0, None]] * 20]), "None is no coordinate"),
        (changed(skeletons=[[[0, 0, float("nan")]] * 20]), "not finite: NaN"),
        (changed(skeletons=[[[0, 0, 10**400]] * 20]), "bits is no coordinate"),
        (changed(skeletons=[[[0, 0, 2000]] * 20]), "over 1000 m"),
        (changed(skeletons=[[[0, 0, 0]] * 20]), "no frame has a body"),
        (json.dumps(GOOD)[:-40], "not JSON"),
        ("[" * 100_000, "without end"),
        ("9" * 5000, "not JSON"),
        ("[]", "not a JSON object"),
        ("", "not JSON"),
        (b'{"label": "\xff"}', "not UTF-8"),
        (" " * (5 << 20), "larger than"),
    ],
)
def test_unusable_files(tmp_path: Path, text: str | bytes, message: str) -> None:
    one = read(tmp_path, text)
    assert isinstance(one, Rejected) and message in one.reason


def test_actions_that_were_left_out(tmp_path: Path) -> None:
    one = read(tmp_path, json.dumps(GOOD), "a07_s01_e00_v03.json")
    assert isinstance(one, Rejected) and "action 7 is none of" in one.reason
