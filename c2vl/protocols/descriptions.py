"""Descriptions of classes that a user wrote, for the zero-shot protocol."""

from __future__ import annotations

from pathlib import Path

from c2vl.support.errors import UserError
from c2vl.support.yaml_files import load_yaml


def read_texts(path: Path) -> dict[str, list[str]]:
    """Read class descriptions: YAML of class name to a text or a list of texts.

    Raises:
        UserError: it is something else.
    """
    values = load_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected class names with their descriptions (name: text)")
    found = {}
    for name, texts in values.items():
        rows = [texts] if isinstance(texts, str) else texts
        if not isinstance(rows, list) or not all(isinstance(t, str) and t.strip() for t in rows):
            raise UserError(f"{path}: {name}: expected a text or a list of texts")
        found[str(name)] = rows
    return found
