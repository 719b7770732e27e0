from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.demo.body import Build, place_joints
from c2vl.skeletons.demo.generate import DemoSettings, generate
from c2vl.skeletons.demo.motions import CLASS_NAMES, ONE_PERSON, TWO_PERSONS, Pose
from c2vl.skeletons.demo.store import prepare_demo
from c2vl.skeletons.layout import NTU25
from c2vl.skeletons.splits import split
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from tests.skeletons.neighbours import nearest_neighbour

TINY = DemoSettings(subjects=1, cameras=1, replications=1, frames=(40, 42))


def test_all_classes_subjects_and_bodies(demo_store: Store) -> None:
    index = demo_store.index
    assert len(index) == 4 * 2 * len(CLASS_NAMES)
    assert demo_store.class_names == CLASS_NAMES
    assert demo_store.manifest["dataset"] == "demo (generated)"
    assert (index.groupby(["label", "subject"]).size() == 2).all()
    two = index["label"] >= len(ONE_PERSON)
    assert (index["bodies"] == np.where(two, 2, 1)).all()
    assert 0.7 < (index["bodies"] == 1).mean() < 0.8
    assert index["frames"].between(30, 50).all()


def test_bodies_come_and_go(demo_store: Store) -> None:
    gone = [
        bool((~demo_store.joints(i).any(axis=(2, 3))).any())
        for i in np.flatnonzero(demo_store.index["bodies"] == 2)
    ]
    assert np.mean(gone) > 0.3


def test_same_settings_same_bytes(tmp_path: Path) -> None:
    for name, settings in (
        ("a", TINY),
        ("b", TINY),
        ("c", DemoSettings(**{**vars(TINY), "seed": 9})),
    ):
        (tmp_path / name).mkdir()
        generate(tmp_path / name, settings)
    contents = {
        name: {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in "abc"
    }
    assert contents["a"] == contents["b"] and len(contents["a"]) == len(CLASS_NAMES)
    assert contents["a"].keys() == contents["c"].keys()
    assert all(contents["a"][name] != contents["c"][name] for name in contents["a"])


def test_classes_can_be_told_but_not_by_joints_alone(demo_store: Store) -> None:
    clips = load_clips(demo_store, frames=50)
    parts = split(demo_store.index, "demo_xsub")
    accuracy = nearest_neighbour(
        clips.dense(np.arange(len(demo_store))), demo_store.index["label"].to_numpy(), parts
    )
    assert 3 / len(CLASS_NAMES) < accuracy < 0.8


def test_bones_keep_their_length_in_every_action() -> None:
    build = Build.draw(np.random.default_rng(0))
    on, phase = np.ones(30), np.linspace(0, 12, 30)
    poses = []
    for act in ONE_PERSON.values():
        poses.append(Pose.standing(30))
        act(poses[-1], on, phase)
    for act_together in TWO_PERSONS.values():
        poses += [Pose.standing(30), Pose.standing(30)]
        act_together(poses[-2], poses[-1], on, phase)
    for pose in [*poses, *(pose.mirrored() for pose in poses)]:
        joints = place_joints(pose, build)
        bones = np.linalg.norm(joints - joints[:, list(NTU25.parents)], axis=2)
        assert np.ptp(bones, axis=0).max() < 1e-9
        assert (joints[..., 1].min(axis=1) > -0.01).all()


def test_left_handers_mirror() -> None:
    pose = Pose.standing(20)
    ONE_PERSON["wave"](pose, np.ones(20), np.linspace(0, 9, 20))
    build = Build(1, 1, 1, 1)
    right, left = place_joints(pose, build), place_joints(pose.mirrored(), build)
    expected = right[:, list(NTU25.mirrored)] * [-1, 1, 1]
    np.testing.assert_allclose(left, expected, atol=1e-12)


def test_second_time_does_nothing(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    first = prepare_demo(out, TINY)
    again = prepare_demo(out, TINY)
    assert (first.already, again.already) == (False, True)
    other = DemoSettings(**{**vars(TINY), "seed": 3})
    with pytest.raises(UserError, match="--overwrite"):
        prepare_demo(out, other)
    changed = prepare_demo(out, other, overwrite=True)
    assert changed.store.digest != first.store.digest
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "mine").touch()
    with pytest.raises(UserError, match="not an empty folder"):
        prepare_demo(tmp_path / "new", TINY, keep_raw=raw)
    assert not (tmp_path / "new").exists()
