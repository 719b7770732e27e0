"""Boxes around persons: from NTU's colour joints, by a detector, or the whole picture.

Two persons give one box around both, since they act together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.encoders import model_folders as models
from c2vl.prompts.video.frames import Frame
from c2vl.skeletons.rejected import RejectedError
from c2vl.support.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

_COLOUR = (1920, 1080)  # pixels of Kinect v2's colour camera, which the joints are given in
_BODY, _JOINT = 10, 12  # fields of a body's and of a joint's line
_BATCH = 8


class Persons(Protocol):
    """Finds the person in the frames of one sequence."""

    @property
    def identity(self) -> str:
        """What finds them, for the record."""

    def boxes(self, sequence: str, frames: Sequence[Frame]) -> list[Box | None]:
        """Return a box for each frame, None where nobody is found.

        Raises:
            RejectedError: what the boxes come from cannot be used.
        """


class WholePicture:
    """The whole picture: for videos that were cropped before."""

    identity = "whole picture"

    def boxes(self, sequence: str, frames: Sequence[Frame]) -> list[Box | None]:
        return [(0.0, 0.0, float(f.image.width), float(f.image.height)) for f in frames]


@dataclass(frozen=True)
class ColourJoints:
    """Boxes around the joints that NTU RGB+D's ``.skeleton`` files place in the colour picture.

    Attributes:
        folder: where ``SsssCcccPpppRrrrAaaa.skeleton`` are.
    """

    folder: Path
    identity = "NTU colour joints"

    def boxes(self, sequence: str, frames: Sequence[Frame]) -> list[Box | None]:
        path = self.folder / f"{sequence}.skeleton"
        if not path.is_file():
            raise RejectedError(f"no skeleton file: {path}")
        seen = colour_boxes(path.read_bytes())
        found: list[Box | None] = []
        for frame in frames:
            box = seen[min(int(frame.share * len(seen)), len(seen) - 1)] if seen else None
            if box is not None:
                x, y = frame.image.width / _COLOUR[0], frame.image.height / _COLOUR[1]
                box = (box[0] * x, box[1] * y, box[2] * x, box[3] * y)
            found.append(box)
        return found


def colour_boxes(text: bytes) -> list[Box | None]:
    """Return, for each frame of a ``.skeleton`` file, the box around all its bodies' joints.

    Joints outside the picture (and Kinect's infinities) do not count.

    Raises:
        RejectedError: the file's structure does not hold.
    """
    tokens = text.split()
    boxes: list[Box | None] = []
    try:
        frames, at = int(tokens[0]), 1
        for _ in range(frames):
            bodies, at = int(tokens[at]), at + 1
            points: list[NDArray[np.float64]] = []
            for _ in range(bodies):
                joints, at = int(tokens[at + _BODY]), at + _BODY + 1
                if joints != 25 or at + joints * _JOINT > len(tokens):
                    raise ValueError("a body is cut off")
                lines = np.array(tokens[at : at + joints * _JOINT]).reshape(joints, _JOINT)
                points.append(lines[:, 5:7].astype(np.float64))
                at += joints * _JOINT
            boxes.append(_around(np.concatenate(points)) if points else None)
    except (ValueError, IndexError) as error:
        raise RejectedError(f"the skeleton file is damaged ({error})") from None
    return boxes


def _around(points: NDArray[np.float64]) -> Box | None:
    x, y = points.T
    inside = (x >= 0) & (x <= _COLOUR[0]) & (y >= 0) & (y <= _COLOUR[1])  # false for NaN
    if inside.sum() < 3:
        return None
    low, high = points[inside].min(0), points[inside].max(0)
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


@dataclass(frozen=True)
class Detector(models.FrozenModel):
    """A zero-shot detector of transformers (Grounding DINO, OWL-ViT, OWLv2), asked for persons.

    Attributes:
        threshold: least score of a box.
        text: what it is asked for.
    """

    threshold: float
    text: str = "person"

    @classmethod
    def load(cls, name: str | Path, *, threshold: float = 0.25) -> Detector:
        """Find a model; the weights are loaded by the first use.

        Raises:
            UserError: it is not there or its weights are no safetensors.
        """
        folder, _ = models.open_folder(name)
        found = models.identified(name, folder, {"threshold": threshold})
        return cls(**found, threshold=threshold)

    @cached_property
    def _processor(self) -> Any:
        from transformers import AutoProcessor

        processor = self.load_part(AutoProcessor)
        if not hasattr(processor, "post_process_grounded_object_detection"):
            raise UserError(f"{self.folder}: has no processor of a zero-shot detector")
        return processor

    @cached_property
    def _model(self) -> Any:
        import torch
        from transformers import AutoModelForZeroShotObjectDetection

        return self.load_network(AutoModelForZeroShotObjectDetection, dtype=torch.float32)

    def boxes(self, sequence: str, frames: Sequence[Frame]) -> list[Box | None]:
        images = [frame.image for frame in frames]
        parts = [images[i : i + _BATCH] for i in range(0, len(images), _BATCH)]
        return [box for part in parts for box in self._detect(part)]

    def _detect(self, images: list[Image]) -> list[Box | None]:
        import torch

        # Grounding DINO reads one lower-case text that ends in a stop, OWL a list of them.
        grounding = "grounding" in str(self._model.config.model_type)
        text: Any = [f"{self.text}."] * len(images) if grounding else [[self.text]] * len(images)
        inputs = self._processor(images=images, text=text, return_tensors="pt")
        inputs = inputs.to(self._model.device)
        with torch.inference_mode():
            outputs = self._model(**inputs)
        options: dict[str, Any] = {"threshold": self.threshold}
        if grounding:
            options |= {"input_ids": inputs["input_ids"], "text_threshold": self.threshold}
        found = self._processor.post_process_grounded_object_detection(
            outputs, target_sizes=[image.size[::-1] for image in images], **options
        )
        return [
            union(each["boxes"].cpu().numpy(), each["scores"].cpu().numpy(), image.size)
            for each, image in zip(found, images, strict=True)
        ]


def union(
    boxes: NDArray[np.floating], scores: NDArray[np.floating], size: tuple[int, int]
) -> Box | None:
    """Return the box around the two best persons, None if there is none.

    Args:
        boxes: (n, 4) left, top, right, bottom in pixels; clipped to the picture.
        scores: (n,).
    """
    limits = np.array([size[0], size[1], size[0], size[1]], dtype=np.float64)
    boxes = np.clip(np.asarray(boxes, dtype=np.float64).reshape(-1, 4), 0, limits)
    kept: list[NDArray[np.float64]] = []
    for i in np.argsort(-np.asarray(scores), kind="stable"):
        box = boxes[i]
        if (box[2:] - box[:2] < 2).any():
            continue  # outside the picture, or a sliver
        if all(_overlap(box, other) < 0.5 for other in kept):
            kept.append(box)
        if len(kept) == 2:
            break
    if not kept:
        return None
    both = np.array(kept)
    left, top = both[:, :2].min(0)
    right, bottom = both[:, 2:].max(0)
    return (float(left), float(top), float(right), float(bottom))


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Intersection over union."""
    inner = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    outer = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner
    return float(inner / outer)
