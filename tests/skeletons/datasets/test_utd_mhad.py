from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.datasets import Options, Rejected, get_reader, read_item
from c2vl.skeletons.sequence import Sequence
from c2vl.skeletons.splits import split
from c2vl.skeletons.store import Store
from tests.skeletons.neighbours import nearest_neighbour

READER = get_reader("utd-mhad")


def read(path: Path) -> Sequence | Rejected:
    """Read the only file of a folder."""
    (item,) = READER.discover(path.parent, Options()).items
    (only,) = read_item(READER.read, item)
    return only


def test_counts_of_the_real_data(utd_store: Store) -> None:
    index = utd_store.index
    assert len(utd_store) == 861
    assert (index["frames"].min(), index["frames"].max()) == (41, 125)
    assert index["label"].nunique() == 27 == len(utd_store.class_names)
    parts = split(index, "utd_xsub")
    assert (len(parts.train), len(parts.test)) == (431, 430)
    utd_store.verify()


def test_both_folders_are_understood(utd: Path) -> None:
    outer, inner = (READER.discover(folder, Options()).items for folder in (utd, utd / "Skeleton"))
    assert len(outer) == 861
    assert [item.file.path for item in outer] == [item.file.path for item in inner]


def test_one_nearest_neighbour_is_the_known_figure(utd_store: Store) -> None:
    """The data's own notes give 82.1 % for 1-NN on resampled joints, cross-subject."""
    clips = load_clips(utd_store, frames=50)
    assert clips.bodies.shape == (861, 50, 20, 3) and clips.present.all()
    parts = split(utd_store.index, "xsub")
    accuracy = nearest_neighbour(
        clips.dense(np.arange(861)), utd_store.index["label"].to_numpy(), parts
    )
    assert accuracy == pytest.approx(0.82, abs=0.02)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"other": np.zeros((20, 3, 5))}, "no variable d_skel"),
        ({"d_skel": np.ones((25, 3, 5))}, "expected (20, 3, frames)"),
        ({"d_skel": np.ones((20, 3))}, "expected (20, 3, frames)"),
        ({"d_skel": np.full((20, 3, 5), "a")}, "no array of real numbers"),
        ({"d_skel": np.full((20, 3, 5), 2000.0)}, "over 1000 m"),
        ({"d_skel": np.full((20, 3, 5), np.nan)}, "not finite"),
        ({"d_skel": np.zeros((20, 3, 5))}, "no frame has a body"),
        (None, "not a MATLAB file"),
    ],
)
def test_unusable_files(
    tmp_path: Path, content: dict[str, np.ndarray] | None, message: str
) -> None:
    path = tmp_path / "a1_s1_t1_skeleton.mat"
    if content is None:
        path.write_bytes(b"MATLAB 5.0 " * 40)
    else:
        savemat(path, content)
    unusable = read(path)
    assert isinstance(unusable, Rejected) and message in unusable.reason


def test_names_are_checked(tmp_path: Path) -> None:
    written = np.random.default_rng(0).normal(size=(20, 3, 6))
    path = tmp_path / "a27_s8_t4_skeleton.mat"
    savemat(path, {"d_skel": written})
    sequence = read(path)
    assert isinstance(sequence, Sequence)
    assert (sequence.id, sequence.label, sequence.subject) == ("a27_s8_t4", 26, 8)
    assert sequence.camera == sequence.setup == -1 and sequence.replication == 4
    np.testing.assert_allclose(sequence.joints[0], written.transpose(2, 0, 1), rtol=1e-6)
    path.rename(tmp_path / "a28_s1_t1_skeleton.mat")
    unusable = read(path)
    assert isinstance(unusable, Rejected) and "outside 1..27" in unusable.reason
