"""Preprocessing of raw joints: resample, centre, align. NumPy alone, so an encoder can ship it.

Shapes: N sequences, M bodies, T raw frames, F resampled frames, V joints, C = (x, y, z) in metres
with y up. A body is absent from a frame when all of its coordinates are zero there, and stays
exactly zero through every step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.layout import JointLayout

Floats = NDArray[np.float32]

VERSION = 1
"""Part of every cache key; raise it when the same input would give other numbers."""


def preprocess(
    joints_MTVC: NDArray[np.floating],
    layout: JointLayout,
    *,
    frames: int,
    centre: bool = True,
    align: bool = True,
) -> Floats:
    """Prepare one sequence; see :func:`preprocess_batch`.

    Args:
        joints_MTVC: raw joints, metres.
        layout: the joints' layout.
        frames: F.
        centre: subtract the centre joint, frame by frame.
        align: turn the shoulder line parallel to x.

    Returns:
        (M, F, V, 3) float32.

    Raises:
        ValueError: the shape is not (M, T, V, 3) with the layout's V and at least one frame.
    """
    if joints_MTVC.ndim != 4:
        raise ValueError(f"joints are {joints_MTVC.shape}, expected (bodies, frames, joints, 3)")
    lengths = np.array([joints_MTVC.shape[1]])
    batch = preprocess_batch(
        joints_MTVC[None], lengths, layout, frames=frames, centre=centre, align=align
    )
    only: Floats = batch[0]
    return only


def preprocess_batch(
    x_NMTVC: NDArray[np.floating],
    lengths_N: NDArray[np.integer],
    layout: JointLayout,
    *,
    frames: int,
    centre: bool = True,
    align: bool = True,
) -> Floats:
    """Prepare sequences of several lengths, padded at the end to the longest.

    1. Resample linearly to F frames, first frame on first and last on last.
    2. Centre: subtract, frame by frame, the centre joint of the first body that is present (body 0
       but for frames without it) from *every* body, so that the distance between two bodies is
       kept (as AimCLR's and CTR-GCN's preparation does).
    3. Align: one rotation a sequence about the vertical axis (y, as Kinect's camera space has it;
       the camera's tilt is left alone), which turns the shoulder line, left to right, of the first
       frame of the first present body parallel to x. A shoulder line without horizontal extent
       turns nothing.

    Args:
        x_NMTVC: raw joints, metres; frames past a sequence's length are ignored.
        lengths_N: frames of each sequence, 1..T.
        layout: the joints' layout.
        frames: F.
        centre: do step 2.
        align: do step 3.

    Returns:
        (N, M, F, V, 3) float32.

    Raises:
        ValueError: a shape or a length does not fit.
    """
    if x_NMTVC.ndim != 5 or x_NMTVC.shape[3:] != (len(layout.joints), 3):
        expected = f"(sequences, bodies, frames, {len(layout.joints)}, 3)"
        raise ValueError(f"joints are {x_NMTVC.shape}, layout {layout.name} expects {expected}")
    if lengths_N.shape != x_NMTVC.shape[:1]:
        raise ValueError(f"{lengths_N.shape} lengths for {x_NMTVC.shape[0]} sequences")
    if len(lengths_N) and not 1 <= lengths_N.min() <= lengths_N.max() <= x_NMTVC.shape[2]:
        raise ValueError(f"lengths must be within 1..{x_NMTVC.shape[2]}")
    if frames < 1:
        raise ValueError(f"frames is {frames}, expected 1 or more")
    x = np.asarray(x_NMTVC, dtype=np.float32)
    x = resample(x, presence(x), lengths_N, frames)
    present = presence(x)
    if centre:
        x = subtract_centre(x, present, layout.centre)
    if align:
        x = align_shoulders(x, present, layout.shoulders)
    return x


def presence(x_NMTVC: Floats) -> NDArray[np.bool_]:
    """Return (N, M, T): whether a body is there in a frame (not every coordinate is zero)."""
    there: NDArray[np.bool_] = np.any(x_NMTVC, axis=(3, 4))
    return there


def resample(
    x_NMTVC: Floats, present_NMT: NDArray[np.bool_], lengths_N: NDArray[np.integer], frames: int
) -> Floats:
    """Interpolate linearly to ``frames`` frames, spread evenly over each sequence.

    Between a frame with a body and one without it, the body keeps the position that is known
    rather than sliding towards zero.
    """
    last = lengths_N[:, None].astype(np.float64) - 1
    at = last * np.arange(frames) / max(frames - 1, 1)  # (N, F)
    lower = np.minimum(at.astype(np.int64), np.maximum(last.astype(np.int64), 0))
    upper = np.minimum(lower + 1, last.astype(np.int64))
    upper_share = (at - lower).astype(np.float32)[:, :, None]
    rows = np.arange(len(x_NMTVC))[:, None]
    before, after = x_NMTVC[rows, :, lower], x_NMTVC[rows, :, upper]  # (N, F, M, V, C)
    before_weight = present_NMT[rows, :, lower] * (1 - upper_share)  # (N, F, M)
    after_weight = present_NMT[rows, :, upper] * upper_share
    total = before_weight + after_weight
    scale = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
    before *= (before_weight * scale)[..., None, None]
    after *= (after_weight * scale)[..., None, None]
    return np.ascontiguousarray((before + after).transpose(0, 2, 1, 3, 4))


def subtract_centre(x_NMTVC: Floats, present_NMT: NDArray[np.bool_], centre: int) -> Floats:
    """Subtract the centre joint of the first present body from every present body."""
    first = present_NMT.argmax(axis=1)  # (N, T); 0 where nobody is present
    origin = np.take_along_axis(x_NMTVC[:, :, :, centre], first[:, None, :, None], axis=1)
    return np.where(present_NMT[..., None, None], x_NMTVC - origin[:, :, :, None], np.float32(0))


def align_shoulders(
    x_NMTVC: Floats, present_NMT: NDArray[np.bool_], shoulders: tuple[int, int]
) -> Floats:
    """Rotate about y so that the first shoulder line, left to right, points along +x."""
    count, bodies = present_NMT.shape[:2]
    rows = np.arange(count)
    frame_first = present_NMT.transpose(0, 2, 1).reshape(count, -1).argmax(axis=1)
    frame, body = np.divmod(frame_first, bodies)
    left, right = shoulders
    line = x_NMTVC[rows, body, frame, right] - x_NMTVC[rows, body, frame, left]  # (N, C)
    width = np.hypot(line[:, 0], line[:, 2])
    known = width > 1e-6
    safe = np.where(known, width, 1)
    cos = np.where(known, line[:, 0] / safe, 1)
    sin = np.where(known, line[:, 2] / safe, 0)
    turn = np.zeros((count, 3, 3), dtype=np.float32)  # row vectors: x @ turn
    turn[:, 0, 0], turn[:, 2, 0] = cos, sin
    turn[:, 0, 2], turn[:, 2, 2] = -sin, cos
    turn[:, 1, 1] = 1
    flat = x_NMTVC.reshape(count, -1, 3) @ turn
    return flat.reshape(x_NMTVC.shape)
