"""Frozen image encoders, through transformers: the image towers of CLIP and SigLIP."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.encoders import model_folders as models
from c2vl.support.errors import UserError
from c2vl.support.progress import Progress

KINDS = ("clip", "clip_vision_model", "siglip", "siglip_vision_model")
_IMAGES = 64  # of a batch


@dataclass(frozen=True)
class ImageEncoder(models.FrozenModel):
    """A frozen encoder of pictures, given as the bytes of their JPEG, WebP or PNG files.

    Attributes:
        kind: ``model_type`` of its configuration.
    """

    kind: str

    @classmethod
    def load(cls, name: str | Path) -> ImageEncoder:
        """Find a model; the weights are loaded by the first :meth:`encode`.

        Raises:
            UserError: it is not there, its weights are no safetensors, it has no image tower or no
                image processor.
        """
        folder, config = models.open_folder(name)
        kind = str(config.get("model_type", ""))
        if kind not in KINDS:
            raise UserError(
                f"{folder}: {kind or 'a model without model_type'} has no image tower that is known"
                f" here; give a CLIP or SigLIP ({', '.join(KINDS)})"
            )
        models.need_processor(folder)
        return cls(**models.identified(name, folder, {"kind": kind}), kind=kind)

    @cached_property
    def _processor(self) -> Any:
        from transformers import AutoImageProcessor

        return self.load_part(AutoImageProcessor)

    @cached_property
    def _model(self) -> Any:
        import torch
        from transformers import CLIPVisionModelWithProjection, SiglipVisionModel

        clip = self.kind.startswith("clip")
        loader = CLIPVisionModelWithProjection if clip else SiglipVisionModel
        config = models.tower_config(self.folder, "vision_config")
        return self.load_network(loader, config=config, dtype=torch.float32)

    def encode(
        self, pictures: Sequence[bytes], *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return unit-norm features, (n, D); equal pictures are computed once."""
        import torch
        from PIL import Image

        if not pictures:
            raise ValueError("encode needs at least one picture")
        place = {data: number for number, data in enumerate(dict.fromkeys(pictures))}
        distinct = list(place)
        parts: list[NDArray[np.float32]] = []
        for start in range(0, len(distinct), _IMAGES):
            files = distinct[start : start + _IMAGES]
            images = [Image.open(io.BytesIO(data)).convert("RGB") for data in files]
            pixels = self._processor(images=images, return_tensors="pt")["pixel_values"]
            with torch.inference_mode():
                output = self._model(pixel_values=pixels.to(self._model.device))
                clip = self.kind.startswith("clip")
                features = output.image_embeds if clip else output.pooler_output
                features = torch.nn.functional.normalize(features.float(), dim=-1)
            parts.append(features.cpu().numpy())
            if progress is not None:
                progress(min(start + _IMAGES, len(distinct)), len(distinct))
        rows = np.concatenate(parts)
        return rows[[place[data] for data in pictures]]


def load(model: str) -> ImageEncoder:
    """Open a folder or hub name; the registered part ``transformers``."""
    return ImageEncoder.load(model)
