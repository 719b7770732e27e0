"""Large multimodal models of transformers as captioners: LLaVA, Qwen-VL, SmolVLM and their like."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from c2vl.prompts.encoders import model_folders as models
from c2vl.prompts.video.answers import Answer
from c2vl.support.errors import UserError


@dataclass(frozen=True)
class LocalCaptioner(models.FrozenModel):
    """Any image-text-to-text model, through its own processor and chat template.

    Answers are greedy, so that the same pictures give the same captions.

    Attributes:
        batch_size: pictures a forward pass.
    """

    batch_size: int
    max_tokens: int

    @classmethod
    def load(
        cls, name: str | Path, *, batch_size: int = 16, max_tokens: int = 64
    ) -> LocalCaptioner:
        """Find a model; the weights are loaded by the first use.

        Raises:
            UserError: it is not there, its weights are no safetensors, or it has no processor.
        """
        folder, _ = models.open_folder(name)
        models.need_processor(folder)
        found = models.identified(name, folder, {"max_tokens": max_tokens})
        return cls(**found, batch_size=batch_size, max_tokens=max_tokens)

    @cached_property
    def _processor(self) -> Any:
        from transformers import AutoProcessor

        processor = self.load_part(AutoProcessor)
        if not getattr(processor, "chat_template", None):
            raise UserError(
                f"{self.folder}: its processor has no chat template (chat_template.jinja); models "
                "that follow instructions come with one"
            )
        processor.tokenizer.padding_side = "left"  # answers begin where all questions end
        if processor.tokenizer.pad_token_id is None:
            processor.tokenizer.pad_token = processor.tokenizer.eos_token
        return processor

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModelForImageTextToText

        return self.load_network(AutoModelForImageTextToText, dtype="auto")

    def answers(self, pictures: Sequence[bytes], questions: Sequence[str]) -> list[Answer]:
        found: list[Answer] = []
        for start in range(0, len(pictures), self.batch_size):
            stop = start + self.batch_size
            found += self._batch(pictures[start:stop], questions[start:stop])
        return found

    def _batch(self, pictures: Sequence[bytes], questions: Sequence[str]) -> list[Answer]:
        import torch
        from PIL import Image

        images = [Image.open(io.BytesIO(data)).convert("RGB") for data in pictures]
        prompts = [
            self._processor.apply_chat_template(
                [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}],
                add_generation_prompt=True,
                tokenize=False,
            )
            for text in questions
        ]
        # Templates that begin with it already would give two (Gemma 3, Llama 3.2 Vision)
        begin = self._processor.tokenizer.bos_token
        begun = begin is not None and prompts[0].startswith(begin)
        inputs = self._processor(
            text=prompts,
            images=[[image] for image in images],
            padding=True,
            add_special_tokens=not begun,
            return_tensors="pt",
        ).to(self._model.device)
        for name, value in inputs.items():
            if value.is_floating_point():
                inputs[name] = value.to(self._model.dtype)
        tokenizer = self._processor.tokenizer
        try:
            with torch.inference_mode():
                output = self._model.generate(
                    **inputs,
                    do_sample=False,
                    num_beams=1,
                    max_new_tokens=self.max_tokens,
                    pad_token_id=tokenizer.pad_token_id,
                )
        except torch.OutOfMemoryError:
            raise UserError(
                f"{self.name}: no memory left for {len(pictures)} pictures; lower --batch"
            ) from None
        new = output[:, inputs["input_ids"].shape[1] :]
        ends = _ends(self._model, tokenizer)
        texts = tokenizer.batch_decode(new, skip_special_tokens=True)
        return [
            Answer(text.strip(), whole=any(int(token) in ends for token in row))
            for text, row in zip(texts, new, strict=True)
        ]


def _ends(model: Any, tokenizer: Any) -> set[int]:
    """Tokens that end an answer."""
    given = model.generation_config.eos_token_id
    ids = given if isinstance(given, list) else [given]
    return {int(token) for token in [*ids, tokenizer.eos_token_id] if token is not None}
