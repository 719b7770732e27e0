"""Writes the Hugging Face Hub's layout: ``config.json``, ``model.safetensors``, a card.

The artefact's files have the names of the Hub and of ``PyTorchModelHubMixin``;
:func:`c2vl.load_encoder` reads the folder as it is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from c2vl.encoder.artefact import README, write_artefact
from c2vl.encoder.card import CARD, WEIGHTS
from c2vl.encoder.ledger import replacing_encoder
from c2vl.encoder.network import Encoder
from c2vl.support.errors import UserError, first_line

NAMES = {CARD: "config.json", WEIGHTS: "model.safetensors"}
HEAD = """---
library_name: c2vl
pipeline_tag: feature-extraction
tags: [skeleton, action-recognition, representation-learning]
---

"""


def save_hub(encoder: Encoder, folder: Path) -> None:
    """Write an encoder in the Hub's layout, all of it or nothing."""
    with replacing_encoder(folder) as partial:
        write_artefact(partial, encoder.model, encoder.card, encoder.concepts)
        for ours, theirs in NAMES.items():
            os.rename(partial / ours, partial / theirs)
        card = (partial / README).read_text(encoding="utf-8")
        (partial / README).write_text(HEAD + card, encoding="utf-8")


def push_folder(folder: Path, repository: str, api: Any = None) -> str:
    """Upload a folder to the Hub; the token is the client's own (``hf auth login``).

    Args:
        folder: in the Hub's layout.
        repository: ``owner/name``; created if absent.

    Returns:
        Its address.

    Raises:
        UserError: the Hub refuses it, or cannot be reached.
    """
    if repository.count("/") != 1:
        raise UserError(f"--push {repository}: expected owner/name")
    if api is None:
        from huggingface_hub import HfApi

        api = HfApi()
    try:
        api.create_repo(repository, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=str(folder)))
    except Exception as error:  # the client raises many kinds: offline, no token, not allowed
        raise UserError(
            f"--push {repository}: the Hub did not take it ({type(error).__name__}: "
            f"{first_line(error)}); the folder {folder} is complete: push it later"
        ) from None
