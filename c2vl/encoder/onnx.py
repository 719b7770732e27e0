"""Runs an exported encoder under ONNX Runtime, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2vl.encoder.card import CARD, read_card, read_sealed
from c2vl.encoder.joints import Joints, clip_batches
from c2vl.skeletons.layout import JointLayout
from c2vl.support.errors import UserError
from c2vl.support.extras import require_extra


class OnnxEncoder:
    """The same interface as :class:`c2vl.encoder.Encoder`, as far as embedding goes."""

    def __init__(self, session: Any, card: dict[str, Any]) -> None:
        self._session = session
        self.card = card
        self.layout = JointLayout.from_dict(card["layout"])

    @property
    def feature_size(self) -> int:
        """Length of a feature vector."""
        return int(self.card["feature_size"])

    def embed(self, sequences: Sequence[Joints], batch_size: int = 64) -> NDArray[np.float32]:
        """Embed raw sequences of any length, as :meth:`c2vl.encoder.Encoder.embed` does.

        Returns:
            (n, feature) float32.

        Raises:
            UserError: a sequence has another shape, no frame, or a value that is not finite.
        """
        rows = [np.empty((0, self.feature_size), np.float32)]
        preprocessing = self.card["preprocessing"]
        for x, present in clip_batches(sequences, self.layout, preprocessing, batch_size):
            feed = {"clips": x, "present": present.astype(np.float32)}
            rows.append(self._session.run(None, feed)[0])
        return np.concatenate(rows)


def load_onnx(folder: str | Path, threads: int = 0) -> OnnxEncoder:
    """Load what ``c2vl export --format onnx`` wrote.

    Args:
        threads: of ONNX Runtime; 0 lets ONNX Runtime choose.

    Raises:
        UserError: a file is missing or altered, or onnxruntime is not installed.
    """
    folder = Path(folder)
    card = read_card(folder / CARD)
    network = card.get("network", {})
    if network.get("format") != "onnx":
        raise UserError(f"{folder}: holds no ONNX network; c2vl export RUN OUT --format onnx")
    path = folder / Path(str(network["file"])).name
    data = read_sealed(path, network["sha256"])
    require_extra("onnx", str(folder), "onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return OnnxEncoder(session, card)
