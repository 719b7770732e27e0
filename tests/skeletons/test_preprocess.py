from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2vl.skeletons.layout import KINECT20, NTU25
from c2vl.skeletons.preprocess import preprocess, preprocess_batch, presence


def clip(seed: int, bodies: int, length: int, joints: int = 25) -> np.ndarray:
    rng = np.random.default_rng(seed)
    place = rng.uniform(-1, 1, (bodies, 1, 1, 3)) + np.array([0, 0, 3])
    x = rng.normal(0, 0.4, (bodies, length, joints, 3)) + place
    return x.astype(np.float32)


CLIPS = st.builds(clip, st.integers(0, 2**32), st.integers(1, 2), st.integers(1, 40))


@settings(max_examples=40, deadline=None)
@given(CLIPS, st.integers(1, 60))
def test_shape_and_centre(x: np.ndarray, frames: int) -> None:
    out = preprocess(x, NTU25, frames=frames)
    assert out.shape == (len(x), frames, 25, 3) and out.dtype == np.float32
    assert np.abs(out[0, :, NTU25.centre]).max() < 1e-5


@settings(max_examples=40, deadline=None)
@given(CLIPS)
def test_idempotent(x: np.ndarray) -> None:
    once = preprocess(x, NTU25, frames=20)
    np.testing.assert_allclose(preprocess(once, NTU25, frames=20), once, atol=2e-5)


@settings(max_examples=40, deadline=None)
@given(CLIPS)
def test_bones_and_distances_are_kept(x: np.ndarray) -> None:
    raw = preprocess(x, NTU25, frames=20, centre=False, align=False)
    out = preprocess(x, NTU25, frames=20)
    for one, two in ((raw, out), (raw - raw[:1], out - out[:1])):
        lengths = [np.linalg.norm(y - y[:, :, list(NTU25.parents)], axis=3) for y in (one, two)]
        np.testing.assert_allclose(*lengths, atol=1e-5)
    between = [np.linalg.norm(y[0] - y[-1], axis=2) for y in (raw, out)]
    np.testing.assert_allclose(*between, atol=1e-5)
    np.testing.assert_allclose(
        out[..., 1], raw[..., 1] - raw[:1, :, NTU25.centre, None, 1], atol=1e-5
    )


@settings(max_examples=40, deadline=None)
@given(CLIPS, st.floats(-3.1, 3.1))
def test_the_direction_of_view_does_not_matter(x: np.ndarray, angle: float) -> None:
    cos, sin = np.cos(angle), np.sin(angle)
    turned = (x @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])).astype(np.float32)
    out = [preprocess(y, NTU25, frames=20) for y in (x, turned)]
    shoulders = x[0, 0, 8] - x[0, 0, 4]
    if np.hypot(shoulders[0], shoulders[2]) > 0.05:
        np.testing.assert_allclose(*out, atol=5e-4)
        line = out[0][0, 0, 8] - out[0][0, 0, 4]
        assert line[0] > 0 and abs(line[2]) < 1e-5


def test_a_shoulder_line_without_direction_turns_nothing() -> None:
    x = clip(0, 1, 10)
    x[0, 0, 8] = x[0, 0, 4] + [0, 0.3, 0]
    straight, aligned = (preprocess(x, NTU25, frames=10, align=align) for align in (False, True))
    assert np.array_equal(straight, aligned)


def test_resampling_in_closed_form() -> None:
    x = np.arange(1, 5, dtype=np.float32)[None, :, None, None] * np.ones((1, 4, 25, 3), np.float32)
    out = preprocess(x, NTU25, frames=7, centre=False, align=False)
    np.testing.assert_allclose(out[0, :, 3, 1], [1, 1.5, 2, 2.5, 3, 3.5, 4])
    same = preprocess(x, NTU25, frames=4, centre=False, align=False)
    assert np.array_equal(same, x)
    np.testing.assert_allclose(
        preprocess(x[:, :1], NTU25, frames=3, centre=False, align=False), np.ones((1, 3, 25, 3))
    )


def test_absent_bodies_stay_zero_and_do_not_slide() -> None:
    x = clip(1, 2, 20)
    x[1, :8] = 0
    x[0, 15:] = 0
    out = preprocess(x, NTU25, frames=39)
    assert not out[1, :14].any() and out[1, 15:].any(axis=(1, 2)).all()
    raw = preprocess(x, NTU25, frames=39, centre=False, align=False)
    np.testing.assert_allclose(raw[1, 15], x[1, 8])  # half-way between absent and present
    assert np.abs(out[1, 30:, NTU25.centre]).max() < 1e-5  # the centre is the one who is there


def test_batch_equals_single_and_ignores_padding() -> None:
    clips = [clip(seed, 2, length) for seed, length in enumerate((5, 12, 30))]
    padded = np.full((3, 2, 30, 25, 3), 7, dtype=np.float32)
    for row, x in enumerate(clips):
        padded[row, :, : x.shape[1]] = x
    out = preprocess_batch(padded, np.array([5, 12, 30]), NTU25, frames=16)
    for row, x in enumerate(clips):
        np.testing.assert_allclose(out[row], preprocess(x, NTU25, frames=16), atol=1e-6)
    assert presence(out).all()


@pytest.mark.parametrize(
    ("x", "lengths", "frames", "message"),
    [
        (np.ones((1, 1, 5, 20, 3)), [5], 8, "layout ntu25 expects"),
        (np.ones((1, 1, 5, 25, 3)), [6], 8, "lengths must be"),
        (np.ones((1, 1, 5, 25, 3)), [0], 8, "lengths must be"),
        (np.ones((1, 1, 5, 25, 3)), [5, 5], 8, "lengths for"),
        (np.ones((1, 1, 5, 25, 3)), [5], 0, "frames is 0"),
    ],
)
def test_shapes_are_checked(x: np.ndarray, lengths: list[int], frames: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preprocess_batch(x, np.array(lengths), NTU25, frames=frames)
    with pytest.raises(ValueError, match="expected"):
        preprocess(np.ones((5, 20, 3)), KINECT20, frames=5)


def test_numpy_is_enough() -> None:
    code = (
        "import sys, c2vl.skeletons.preprocess; "
        "print([m for m in ('pandas', 'torch', 'scipy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
