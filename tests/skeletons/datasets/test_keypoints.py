"""2D keypoints and persons who cross; what is the same in 3D stands in the conformance suite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c2vl.skeletons.datasets import Options, get_reader, read_item
from c2vl.skeletons.layout import COCO17
from c2vl.skeletons.rejected import Rejected
from c2vl.support.errors import UserError
from tests.skeletons.datasets.writers import person


def pixels(seed: int, at: float) -> np.ndarray:
    """(T, 17, 2) of a body whose trunk is 120 pixels high, y down."""
    places = person(np.random.default_rng(seed), 20, 17, motion=0.002)[..., :2]
    joints = COCO17.joints
    for name, x, y in (("shoulder", 0.2, 0.5), ("hip", 0.1, -0.5)):
        for side, sign in (("left", 1), ("right", -1)):
            places[:, joints.index(f"{side}_{name}")] = [sign * x, y]
    return places * [120, -120] + [at, 300]


def write(folder: Path, persons: list[np.ndarray], *, ids: bool) -> None:
    results: list[dict[str, Any]] = []
    for frame in range(20):
        order = list(enumerate(persons))
        for number, places in order if frame % 2 else order[::-1]:  # as detectors return them
            rows = np.concatenate([places[frame], np.ones((17, 1))], axis=1)
            if frame == 5 and number == 0:
                rows[9] = 0
            one = {"image_id": f"{frame}.jpg", "keypoints": rows.ravel().tolist(), "score": 1}
            results.append({**one, **({"idx": number} if ids else {})})
    (folder / "take.json").write_text(json.dumps(results))


@pytest.mark.parametrize("ids", [False, True])
def test_2d_in_metres_and_each_person_in_one_body(tmp_path: Path, ids: bool) -> None:
    persons = [pixels(0, 200), pixels(1, 600)]
    persons[1] = persons[1].mean(0) + 0.2 * (persons[1] - persons[1].mean(0))  # moves less
    write(tmp_path, persons, ids=ids)
    reader = get_reader("keypoints")
    found = reader.discover(tmp_path, Options(fps=25))
    assert found.layout == COCO17 and found.fps == 25
    (one,) = read_item(reader.read, found.items[0])
    assert not isinstance(one, Rejected) and one.id == "take"
    assert one.joints.shape == (2, 20, 17, 3) and not one.joints[..., 2].any()
    for body, places in zip(one.joints, persons, strict=True):
        expected = places * [0.5, -0.5] / 120
        seen = np.ones((20, 17), bool)
        seen[5, 9] = False
        np.testing.assert_allclose(body[seen][:, :2], expected[seen], atol=1e-4)
    between = (one.joints[0, 4, 9] + one.joints[0, 6, 9]) / 2
    np.testing.assert_allclose(one.joints[0, 5, 9], between, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "why"),
    [("{", "no keypoints that we know"), ("[[1]]", "no keypoints that we know"),
     ('[{"image_id": 1, "keypoints": [1, 2, 2]}]', "1 keypoints a person, and the first file 17")],
)  # fmt: skip
def test_other_files_are_rejected(tmp_path: Path, text: str, why: str) -> None:
    write(tmp_path, [pixels(0, 200)], ids=False)
    (tmp_path / "wrong.json").write_text(text)
    reader = get_reader("keypoints")
    items = reader.discover(tmp_path, Options()).items
    (found,) = [one for item in items[1:] for one in read_item(reader.read, item)]
    assert isinstance(found, Rejected) and why in found.reason
    (tmp_path / "take.json").unlink()
    with pytest.raises(UserError, match="no JSON file with 17, 25, 33 keypoints"):
        reader.discover(tmp_path, Options())
