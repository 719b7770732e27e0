"""One sequence with everything that a drawing of it shows."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.layout import JointLayout
from c2vl.support.errors import UserError

if TYPE_CHECKING:
    from c2vl.skeletons.store import Store

_KINECT_FPS = 30.0
_NEAR = 2000  # names that a misspelt one is compared with thoroughly


@dataclass(frozen=True)
class Caption:
    """A text and the frames ``start`` to ``stop`` (exclusive) that it is about."""

    start: int
    stop: int
    text: str


@dataclass(frozen=True)
class Recording:
    """A sequence, ready to be drawn.

    Attributes:
        title: what is done, the class name where it is known.
        facts: subject, camera and the like, in words.
        joints: (M, T, V, 3) metres, y up; exactly zero in frames in which a body is absent.
        layout: what the joints are.
        captions: in order of time; they may overlap.
    """

    id: str
    title: str
    facts: str
    joints: NDArray[np.float32]
    layout: JointLayout
    fps: float = _KINECT_FPS
    captions: tuple[Caption, ...] = ()

    def __post_init__(self) -> None:
        expected = f"(bodies, frames, {len(self.layout.joints)}, 3)"
        if self.joints.ndim != 4 or self.joints.shape[2:] != (len(self.layout.joints), 3):
            raise UserError(f"{self.id}: joints are {self.joints.shape}, expected {expected}")
        if not np.isfinite(self.joints).all():
            raise UserError(f"{self.id}: has values that are not finite; clean it first")
        if not self.joints.any():
            raise UserError(f"{self.id}: nobody is in it (all joints are zero)")
        if not self.fps > 0:
            raise UserError(f"{self.id}: {self.fps} frames a second; give a positive number")

    @property
    def present(self) -> NDArray[np.bool_]:
        """(M, T) bool: whether a body is present in a frame."""
        there: NDArray[np.bool_] = np.any(self.joints, axis=(2, 3))
        return there

    @property
    def floor(self) -> float:
        """Height of the floor: where the lowest joint mostly is, metres."""
        return float(np.percentile(self.joints[self.present][..., 1].min(axis=-1), 5))

    def playing(self, frame: int) -> Caption | None:
        """Return the caption of a frame: of those that overlap there, the one nearest in time."""
        over = [caption for caption in self.captions if caption.start <= frame < caption.stop]
        return min(over, key=lambda each: abs(each.start + each.stop - 1 - 2 * frame), default=None)


def record(store: Store, position: int, captions: Iterable[Caption] = ()) -> Recording:
    """Return the sequence at a position of a store as a recording."""
    row = store.index.iloc[position]
    facts = [
        f"{column} {row[column]}"
        for column in ("subject", "camera", "setup", "replication")
        if int(row[column]) >= 0
    ]
    names, label = store.class_names, int(row["label"])
    return Recording(
        id=str(row["id"]),
        title=names[label] if 0 <= label < len(names) else "no label",
        facts=", ".join([str(store.manifest["dataset"]), *facts]),
        joints=store.joints(position),
        layout=store.layout,
        fps=float(store.manifest.get("settings", {}).get("fps") or _KINECT_FPS),
        captions=tuple(captions),
    )


def find_sequence(store: Store, wanted: str) -> int:
    """Return the position of a sequence that is named by its id, or by its row number from 0.

    Raises:
        UserError: there is none; it suggests near misses.
    """
    ids = store.index["id"].astype(str).tolist()
    if wanted in ids:
        return ids.index(wanted)
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 19 and int(wanted) < len(ids):
        return int(wanted)

    def letters(name: str) -> int:
        return sum(here == there for here, there in zip(name, wanted, strict=False))

    some = heapq.nlargest(_NEAR, ids, key=letters)  # the thorough look at all would take seconds
    near = difflib.get_close_matches(wanted, some, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"ids look like {ids[0]}"
    raise UserError(
        f"{store.path}: no sequence {wanted}; {hint} (or give a row number, 0 to {len(ids) - 1})"
    )
