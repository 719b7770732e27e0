"""Turns raw joints of any length into clips of one length, in NumPy alone.

Shapes: n sequences, M bodies, T frames, F frames of a clip, V joints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.layout import JointLayout
from c2vl.skeletons.preprocess import preprocess
from c2vl.support.errors import UserError

Joints = NDArray[np.floating[Any]]
WIDEST = 10.0
"""Metres that a body may be across: far above any body, and below one given in inches."""


def clip_batches(
    sequences: Sequence[Joints],
    layout: JointLayout,
    preprocessing: Mapping[str, Any],
    batch_size: int,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Yield the clips and present bodies of each batch of raw sequences, as :func:`to_clips`."""
    for first in range(0, len(sequences), batch_size):
        yield to_clips(sequences[first : first + batch_size], layout, preprocessing, first)


def to_clips(
    sequences: Sequence[Joints],
    layout: JointLayout,
    preprocessing: Mapping[str, Any],
    first: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Check and preprocess raw sequences.

    Args:
        sequences: each (T, V, 3) or (M, T, V, 3), metres; an absent body is all zero. A single
            frame is repeated for the whole clip.
        preprocessing: of the card: frames, centre, align.
        first: number of the first sequence, for messages.

    Returns:
        Clips (n, M, F, V, 3) float32 and presence of bodies (n, M); M is the most of any sequence.

    Raises:
        UserError: a sequence has another shape or joint count, no frame, no body, a value that is
            not finite, or bodies in another unit; the message names its position.
    """
    clips = [
        _clip(first + offset, joints, layout, preprocessing)
        for offset, joints in enumerate(sequences)
    ]
    bodies = max(clip.shape[0] for clip in clips)
    x = np.zeros((len(clips), bodies, *clips[0].shape[1:]), np.float32)
    present = np.zeros((len(clips), bodies), dtype=bool)
    for row, clip in enumerate(clips):
        x[row, : len(clip)] = clip
        present[row, : len(clip)] = True
    return x, present


def _clip(
    index: int, joints: Joints, layout: JointLayout, preprocessing: Mapping[str, Any]
) -> NDArray[np.float32]:
    try:
        joints = np.asarray(joints)
        if joints.dtype.kind not in "fiu":
            raise ValueError(f"{joints.dtype} values")
    except ValueError as error:
        raise UserError(f"sequence {index}: joints must be numbers ({error})") from None
    if joints.ndim == 3:
        joints = joints[None]
    wanted = len(layout.joints)
    if joints.ndim != 4 or joints.shape[2:] != (wanted, 3) or 0 in joints.shape:
        raise UserError(
            f"sequence {index}: expected joints of shape (frames, {wanted}, 3) or (bodies, "
            f"frames, {wanted}, 3) in the {layout.name} layout, found {joints.shape}"
        )
    # In metres; float32 overflows when it squares much larger values.
    if not np.isfinite(joints).all() or np.abs(joints).max() > 1e6:
        raise UserError(
            f"sequence {index}: has values that are not finite, or beyond 1000 km; joints are in "
            "metres, and gaps must be filled or left out first"
        )
    kept = joints[np.any(joints != 0, axis=(1, 2, 3))]
    if not len(kept):
        raise UserError(f"sequence {index}: no body in it (all joints are zero)")
    kept = kept.astype(np.float32)
    if (extent := _extent(kept)) > WIDEST:
        raise UserError(
            f"sequence {index}: a body is {extent:.0f} m across; joints are in metres, and these "
            "look like millimetres, centimetres or inches: convert them"
        )
    return preprocess(kept, layout, **preprocessing)


def _extent(bodies: NDArray[np.float32]) -> float:
    """Return the longest side of the box around the largest body, in its median frame, metres."""
    sides = (bodies.max(2) - bodies.min(2)).max(2)
    seen = (bodies != 0).any(axis=(2, 3))
    return max(float(np.median(body[there])) for body, there in zip(sides, seen, strict=True))
