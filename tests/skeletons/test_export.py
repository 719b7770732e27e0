from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from c2vl.skeletons.export import export
from c2vl.skeletons.splits import split
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError


def test_pyskl(demo_store: Store, tmp_path: Path) -> None:
    said = export(demo_store, tmp_path / "out" / "demo.pkl", None)
    assert said.startswith("104 sequences, splits xset_train") or "xsub_train" in said
    written = pickle.loads((tmp_path / "out" / "demo.pkl").read_bytes())
    parts = split(demo_store.index, "demo_xsub")
    assert written["split"]["xsub_train"] == list(demo_store.index["id"].iloc[parts.train])
    for position in (0, 50, 103):
        annotation = written["annotations"][position]
        assert annotation["frame_dir"] == demo_store.index["id"].iloc[position]
        assert annotation["label"] == demo_store.index["label"].iloc[position]
        assert annotation["total_frames"] == demo_store.joints(position).shape[1]
        assert np.array_equal(annotation["keypoint"], demo_store.joints(position))
        assert type(annotation["keypoint"]) is np.ndarray


def test_ctrgcn(demo_store: Store, tmp_path: Path) -> None:
    said = export(demo_store, tmp_path / "demo.npz", "xsub", 300)
    parts = split(demo_store.index, "xsub")
    assert said == f"xsub: {len(parts.train)} train, {len(parts.test)} test, 300 frames"
    with np.load(tmp_path / "demo.npz") as arrays:
        assert arrays["x_train"].shape == (len(parts.train), 300, 150)
        assert arrays["x_train"].dtype == np.float32
        labels = demo_store.index["label"].to_numpy()
        assert (arrays["y_test"].argmax(axis=1) == labels[parts.test]).all()
        assert list(arrays["id_test"]) == list(demo_store.index["id"].iloc[parts.test])
        for row in (0, len(parts.test) - 1):
            joints = demo_store.joints(parts.test[row])
            found = arrays["x_test"][row].reshape(300, 2, 25, 3).transpose(1, 0, 2, 3)
            assert np.array_equal(found[: len(joints), : joints.shape[1]], joints)
            assert not found[:, joints.shape[1] :].any() and not found[len(joints) :].any()


def test_mistakes_leave_nothing(demo_store: Store, tmp_path: Path) -> None:
    for name, split_name, frames, message in (
        ("a.h5", None, None, r"the ending says the format"),
        ("a.npz", "xsub61", None, "xsub61"),
        ("a.pkl", "xsub61", None, "xsub61"),
        ("a.npz", None, 10, r"--frames 10: S001.* frames; give"),
        ("a.pkl", None, 10, "keeps every sequence's own length"),
    ):
        with pytest.raises(UserError, match=message):
            export(demo_store, tmp_path / name, split_name, frames)
    assert not list(tmp_path.iterdir())
