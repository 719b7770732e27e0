"""One motion-capture sequence, as a reader returns it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sequence:
    """Joints and the facts about them that a dataset gives.

    Attributes:
        id: unique within a dataset.
        joints: float32 (M bodies, T frames, V joints, 3), metres, y up; exactly zero in frames in
            which a body is absent.
        label: class number from 0.
        subject: performer, or -1 when unknown (so also the three below).
        camera: camera number.
        setup: set-up number.
        replication: how often the subject had done the action.
        source: the file that it came from.
    """

    id: str
    joints: NDArray[np.float32]
    label: int
    subject: int = -1
    camera: int = -1
    setup: int = -1
    replication: int = -1
    source: str = ""
