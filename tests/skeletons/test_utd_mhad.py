from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.readers import RejectedError, get_reader
from c2vl.skeletons.splits import split
from c2vl.skeletons.store import Store
from tests.skeletons.neighbours import nearest_neighbour

READER = get_reader("utd-mhad")


def test_counts_of_the_real_data(utd_store: Store) -> None:
    index = utd_store.index
    assert len(utd_store) == 861
    assert (index["frames"].min(), index["frames"].max()) == (41, 125)
    assert index["label"].nunique() == 27 == len(utd_store.class_names)
    parts = split(index, "utd_xsub")
    assert (len(parts.train), len(parts.test)) == (431, 430)
    utd_store.verify()


def test_both_folders_are_understood(utd: Path) -> None:
    assert READER.discover(utd) == READER.discover(utd / "Skeleton")


def test_one_nearest_neighbour_is_the_known_figure(utd_store: Store) -> None:
    """The data's own notes give 82.1 % for 1-NN on resampled joints, cross-subject."""
    clips = load_clips(utd_store, frames=50)
    assert clips.x.shape == (861, 1, 50, 20, 3) and clips.present.all()
    parts = split(utd_store.index, "xsub")
    accuracy = nearest_neighbour(clips.x, utd_store.index["label"].to_numpy(), parts)
    assert accuracy == pytest.approx(0.82, abs=0.02)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"other": np.zeros((20, 3, 5))}, "no variable d_skel"),
        ({"d_skel": np.ones((25, 3, 5))}, "expected numbers"),
        ({"d_skel": np.ones((20, 3))}, "expected numbers"),
        ({"d_skel": np.full((20, 3, 5), np.nan)}, "not finite"),
        ({"d_skel": np.zeros((20, 3, 5))}, "every coordinate is zero"),
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
    with pytest.raises(RejectedError, match=message):
        READER.read(path)


def test_names_are_checked(tmp_path: Path) -> None:
    written = np.random.default_rng(0).normal(size=(20, 3, 6))
    path = tmp_path / "a27_s8_t4_skeleton.mat"
    savemat(path, {"d_skel": written})
    sequence = READER.read(path)
    assert (sequence.id, sequence.label, sequence.subject) == ("a27_s8_t4", 26, 8)
    assert sequence.camera == sequence.setup == -1 and sequence.replication == 4
    np.testing.assert_allclose(sequence.joints[0], written.transpose(2, 0, 1), rtol=1e-6)
    shutil.copy(path, tmp_path / "a28_s1_t1_skeleton.mat")
    with pytest.raises(RejectedError, match=r"outside 1\.\.27"):
        READER.read(tmp_path / "a28_s1_t1_skeleton.mat")
