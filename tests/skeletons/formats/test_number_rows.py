"""The fast reading against the careful one: what it accepts has to be the same, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from c2vl.skeletons.datasets import RejectedError
from c2vl.skeletons.formats import ntu_text
from c2vl.skeletons.formats.ntu_text import parse
from c2vl.skeletons.formats.number_rows import number_rows, number_rows_by_line
from tests.skeletons.datasets.writers import ntu_lines, two

FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(-10, 10).map("{:.6f}".format),
    st.floats(-10, 10).map("{:.17f}".format),
    st.integers(-(10**10), 10**10).map(lambda number: f"{number / 1e9:.9f}"),
    st.integers(-(10**25), 10**25).map(str),
)
ODD = st.sampled_from(
    [
        *("nan", "inf", "-inf", "1e400", "1e-400", "1e22", "1e23", "9007199254740993", "0.1e-21"),
        *("+1", "--1", "1.", ".5", ".", "-", "", "e5", "1e", "1e+", "1e+5", "1E5", "1_0", "0x1"),
        *("1-1", "1,5", "\u0663", "\xa0", "00012", "-0", "-0.0", "4.9e-324"),
        *("0" * 40 + "1", "1" + "0" * 40),
    ]
)
BLANK = st.sampled_from([" ", "  ", "\t", " \t", "\x0b", "\x0c", "\r", ""])
END = st.sampled_from(["\n", "\r\n", " \n", "\n\n", "\n \n", "\r", "\x00\n"])


def agree(text: bytes, columns: int) -> bool:
    """See that the fast path gives what the careful one does; returns whether it gave anything."""
    rows = number_rows(text.rstrip(), columns)
    if rows is not None:
        careful = number_rows_by_line(text, columns)
        assert rows.shape == careful.shape
        assert np.array_equal(rows.view(np.int64), careful.view(np.int64))
    return rows is not None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(FLOATS, min_size=3, max_size=3), min_size=1, max_size=4), st.booleans())
def test_numbers_are_what_float_gives(rows: list[list[str]], windows: bool) -> None:
    end = "\r\n" if windows else "\n"
    text = "".join(" ".join(row) + end for row in rows).encode()
    agree(text, 3)
    careful = number_rows_by_line(text, 3)
    assert np.array_equal(careful, [[float(number) for number in row] for row in rows])


def test_what_sensors_write_takes_the_fast_path() -> None:
    rng = np.random.default_rng(0)
    for form in ("{:.6f}", "{:.7f}", "{:.4e}", "{:g}"):
        text = "\n".join(
            " ".join(form.format(number) for number in row) for row in rng.normal(size=(50, 3))
        )
        assert agree(text.encode(), 3) and agree(text.replace("\n", "\r\n").encode() + b"\n ", 3)


@settings(max_examples=250, deadline=None)
@given(st.lists(st.tuples(st.one_of(FLOATS, ODD), BLANK, st.none() | END), max_size=9))
@example([("1", " ", None), ("2", "", "\n"), ("", "", "\n"), ("3", " ", None), ("4", "", "\n")])
def test_odd_text_is_never_read_two_ways(words: list[tuple[str, str, str | None]]) -> None:
    text = "".join(word + blank + (end or "") for word, blank, end in words).encode()
    try:
        agree(text, 2)
    except RejectedError as error:
        raise AssertionError(f"the fast path accepts what is damaged: {error}") from error


TEXT = "\n".join(ntu_lines(two(np.random.default_rng(1), 5, 25))).encode()
TOKENS = TEXT.split(b" ")


@settings(max_examples=200, deadline=None)
@given(
    at=st.one_of(st.integers(0, 40), st.integers(0, len(TOKENS) - 1)),
    token=st.one_of(ODD, FLOATS, st.sampled_from(["25", "1", "2", "0", "18446744073709551616"])),
    count=st.integers(0, 3),
    windows=st.booleans(),
)
def test_skeleton_text_is_never_read_two_ways(
    at: int, token: str, count: int, windows: bool
) -> None:
    text = b" ".join([*TOKENS[:at], token.encode(), *TOKENS[at + count :]])
    if windows:
        text = text.replace(b"\n", b"\r\n")
    assert tracks(text, fast=True) == tracks(text, fast=False)


def tracks(text: bytes, *, fast: bool) -> object:
    """What comes of a file, bit for bit, or why it is rejected."""
    with pytest.MonkeyPatch.context() as patch:
        if not fast:
            patch.setattr(ntu_text, "number_rows", lambda *_: None)
        try:
            return [(one.frames.tolist(), one.joints.tobytes()) for one in parse(text)]
        except RejectedError as error:
            return error.reason, error.line


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \r\n", b"\t\n"])
def test_skeleton_text_takes_the_fast_path(end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TEXT.replace(b"\n", end) + end
    careful = tracks(text, fast=False)
    monkeypatch.setattr(ntu_text, "number_of", None)
    assert tracks(text, fast=True) == careful
