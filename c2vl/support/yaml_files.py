"""Reads YAML that somebody else wrote, strictly and within bounds of time and memory.

PyYAML takes the last of two equal keys without a word, needs time that grows with the square of the
nesting, and lets a few lines of aliases stand for more than any memory holds. Here each of these is
an error that tells the line.

ruamel.yaml 0.19 was tried in its place. It names equal keys, but ends deep nesting in a
RecursionError without a line, takes an alias within itself, needed over 20 s for 25 lines of merged
aliases, and read our files at 0.6 to 0.7 of the speed: it would take the same checks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from c2vl.support.errors import UserError, not_utf8

_DEEPEST = 50  # collections within each other: no file of ours comes near
_MOST = 1_000_000  # values, those counted again that aliases repeat
_LARGEST = 8 << 20  # bytes of a file


class _Loader(yaml.SafeLoader):
    """Loads safe values of bounded depth and number, and no mapping with a key twice."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._extents: dict[int, tuple[int, int]] = {}  # node: values and levels, aliases expanded

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        _require(self.flow_level < _DEEPEST, self.get_mark(), _TOO_DEEP)
        super().fetch_flow_collection_start(token)

    def add_indent(self, column: int) -> bool:
        _require(len(self.indents) < _DEEPEST, self.get_mark(), _TOO_DEEP)
        return super().add_indent(column)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        is_alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        assert node is not None  # whatever the library's stubs say
        if is_alias:
            _require(id(node) in self._extents, mark, "an alias within what it stands for")
            return node
        below = [self._extents[id(child)] for child in _children(node)]
        values = 1 + sum(values for values, _ in below)
        levels = 1 + max((levels for _, levels in below), default=0)
        _require(values <= _MOST, mark, f"over {_MOST:,} values")
        _require(levels <= _DEEPEST + 1, mark, _TOO_DEEP)
        self._extents[id(node)] = values, levels
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                name = key.tag, key.value
                _require(name not in seen, key.start_mark, f'the key "{key.value}" is there twice')
                seen.add(name)
        return node


_TOO_DEEP = f"nested more than {_DEEPEST} deep"


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _require(holds: bool, mark: yaml.Mark, otherwise: str) -> None:
    if not holds:
        raise yaml.YAMLError(f"line {mark.line + 1}: {otherwise}")


def parse_yaml(text: str) -> Any:
    """Parse YAML strictly.

    Raises:
        ValueError: it is not YAML, or one of the things that the module's text says; the message
            may have several lines.
    """
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        # PyYAML lets slip what its constructors meet: int("0b"), date(2001, 99, 99)
        raise ValueError(str(error)) from None


def load_yaml(path: Path, largest: int = _LARGEST) -> Any:
    """Read a YAML file strictly; an empty one gives ``None``.

    Raises:
        UserError: it is missing, larger than it may be, or not YAML as :func:`parse_yaml` takes it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
        if len(data) > largest:
            raise UserError(f"{path}: over {largest >> 20} MiB, the most that is read here as YAML")
        return parse_yaml(data.decode("utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UserError:
        raise
    except UnicodeDecodeError as error:
        raise UserError(f"{path}{not_utf8(error)}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {error}") from None
