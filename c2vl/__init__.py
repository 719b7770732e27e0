"""C²VL: one experiment, from skeletons and prompts to a trained skeleton encoder.

Example:
    >>> import c2vl
    >>> encoder = c2vl.load_encoder("runs/sweeps/demo/best")  # doctest: +SKIP
    >>> encoder.embed([joints])  # (M, T, V, 3) metres → (1, 256)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

__all__ = ["load_encoder"]


def __getattr__(name: str) -> Any:  # torch is imported when it is needed, not for `--help`
    if name == "load_encoder":
        from c2vl.encoder import load_encoder

        return load_encoder
    raise AttributeError(f"module 'c2vl' has no attribute '{name}'")
