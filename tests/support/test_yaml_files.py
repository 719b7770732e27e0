"""YAML from outside: what a plain reader lets pass in silence, or never comes back from."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from c2vl.support.errors import UserError
from c2vl.support.yaml_files import load_yaml, parse_yaml

_SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
_VALUES = st.recursive(
    _SCALARS, lambda below: st.lists(below) | st.dictionaries(st.text(), below), max_leaves=30
)


@given(_VALUES, st.booleans())
def test_what_pyyaml_writes_is_read_back(value: Any, flow: bool) -> None:
    assert parse_yaml(yaml.safe_dump(value, default_flow_style=flow)) == value


def test_aliases_and_merges_are_taken() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, z: 4}\nd: [*a, *a]"
    assert parse_yaml(text) == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 3, "y": 2},
        "c": {"x": 3, "y": 2, "z": 4},
        "d": [{"x": 1, "y": 2}] * 2,
    }


def _laughs(one: str, many: str) -> str:
    return f"a0: &a0 {one}\n" + "".join(
        f"a{row}: &a{row} {many.replace('*', f'*a{row - 1}')}\n" for row in range(1, 40)
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr: 1\noptim: {a: 1,\n b: 2, a: 3}", 'line 3: the key "a" is there twice'),
        ("lr: 1\nlr: 2", 'line 2: the key "lr" is there twice'),
        ("[" * 100_000, "line 1: nested more than 50 deep"),
        ("{a: " * 100_000, "line 1: nested more than 50 deep"),
        ("- " * 100_000, "line 1: nested more than 50 deep"),
        ("\n".join(" " * row + "a:" for row in range(2000)), "line 51: nested more than 50 deep"),
        ("a0: &a0 1\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 99)), "50 deep"),
        (_laughs("[x, x]", "[*, *]"), "over 1,000,000 values"),
        (_laughs("{x: 1}", "{<<: [*, *]}"), "over 1,000,000 values"),
        ("a: &a [1, *a]", "line 1: an alias within what it stands for"),
        ("a: &a {b: *a}", "line 1: an alias within what it stands for"),
        ("? [1, 2]\n: 3", "unhashable"),
        ("day: 2020-99-99", "month"),
        ("a: 0b_", "invalid literal"),
        ("!!python/object/apply:os.system [exit]", "could not determine a constructor"),
        ("a: b: c", "mapping values are not allowed here"),
        ("a\0b", "special characters are not allowed"),
    ],
)
def test_each_is_an_error_and_soon(text: str, message: str, tmp_path: Path) -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match=message):
        parse_yaml(text)
    assert time.process_time() - start < 2
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"x\.yaml: cannot be read as YAML: ") as error:
        load_yaml(path)
    assert re.search(message, str(error.value))


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    with pytest.raises(UserError, match="no such file"):
        load_yaml(path)
    path.write_text("")
    assert load_yaml(path) is None
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert load_yaml(path) == {"a": 1}
    path.write_bytes(b"a: \xff\n")
    with pytest.raises(UserError, match="line 1: not UTF-8 text"):
        load_yaml(path)
    path.write_text("a: 1\n" + "#" * (1 << 20))
    with pytest.raises(UserError, match="over 1 MiB, the most"):
        load_yaml(path, largest=1 << 20)
    with pytest.raises(UserError, match="cannot be read as YAML"):
        load_yaml(tmp_path)
