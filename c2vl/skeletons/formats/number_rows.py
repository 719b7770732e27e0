"""Parses rows of decimal numbers by Arrow's CSV reader, and by a slow one what Arrow refuses.

Arrow takes plain numbers between single blanks, each as the double that ``float`` gives. Everything
else is read line by line, for its exact values or for the reason and the line of a rejection. On
files of PKU-MMD and NTU RGB+D Arrow reads some 240 to 280 MB/s, NumPy's ``loadtxt`` 36 to 110 and
``float`` word by word 14 to 36; a loop compiled by Numba read 470 to 660, but compiled for seconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.rejected import RejectedError

_BOM = b"\xef\xbb\xbf"  # Arrow would skip it, and take a lone CR for the end of a line


def number_rows(text: bytes, columns: int, kept: int | None = None) -> NDArray[np.float64] | None:
    """Read rows of numbers, one row a line.

    Args:
        text: lines that end in LF or CRLF, with blanks or tabs between the numbers.
        columns: numbers in each line.
        kept: how many of them are wanted, from the first; the others may be any words.

    Returns:
        (rows, kept), or None where a line holds anything else: read it with
        :func:`number_rows_by_line`.
    """
    if text.startswith(_BOM) or text.count(b"\r") != text.count(b"\r\n"):
        return None
    if any(blank in text for blank in (b"\v", b"\f")):
        return None
    odd = b"\t" in text
    if kept is not None:  # Arrow takes an empty field for one of those that are not wanted
        odd = odd or text.endswith(b" ") or any(gap in text for gap in (b"  ", b" \n", b" \r"))
    rows = None if odd else _by_arrow(text, columns, kept)
    return rows if rows is not None else _by_arrow(_single_blanks(text), columns, kept)


def _single_blanks(text: bytes) -> bytes:
    """Leave one blank between the fields of each line, and none around them."""
    text = text.replace(b"\t", b" ").replace(b"\r\n", b"\n")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text.replace(b" \n", b"\n").replace(b"\n ", b"\n").strip(b" ")


def _by_arrow(text: bytes, columns: int, kept: int | None) -> NDArray[np.float64] | None:
    import pyarrow as pa
    from pyarrow import csv

    names = [str(column) for column in range(columns)]
    wanted = names[:kept]
    try:
        table = csv.read_csv(
            pa.BufferReader(text),
            csv.ReadOptions(use_threads=False, column_names=names),
            csv.ParseOptions(delimiter=" ", quote_char=False, ignore_empty_lines=False),
            csv.ConvertOptions(
                include_columns=wanted,
                column_types=dict.fromkeys(wanted, pa.float64()),
                null_values=[],
                check_utf8=False,
            ),
        )
    except pa.ArrowInvalid:
        return None
    rows = np.stack([column.to_numpy() for column in table.columns], axis=1)
    return rows if np.isfinite(rows).all() else None


def number_of(field: bytes) -> float:
    """Parse a field as a number.

    Raises:
        ValueError: it is none; Python's ``1_000`` is none to a sensor.
    """
    if b"_" in field:
        raise ValueError(f"could not convert string to float: {field!r}")
    return float(field)


def number_rows_by_line(text: bytes, columns: int) -> NDArray[np.float64]:
    """Read rows of numbers in every spelling that ``float`` accepts.

    Returns:
        (rows, columns).
    """
    rows: list[list[float]] = []
    lines = text.rstrip().split(b"\n") if text.strip() else []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) != columns:
            raise RejectedError(f"{len(fields)} numbers in a line, expected {columns}", number)
        try:
            rows.append([number_of(field) for field in fields])
        except ValueError as error:
            raise RejectedError(f"not a number: {str(error)[-60:]}", number) from None
    return np.array(rows).reshape(-1, columns)
