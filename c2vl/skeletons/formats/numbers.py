"""Decimal numbers out of text at a gigabyte a second, compiled by Numba when first used.

These loops read what sensors write and give up on anything else, down to a number of more digits
than a double holds exactly; the caller then reads the file once more, line by line, for its exact
values or for the reason to reject it. Whatever they do accept is the double that ``float`` gives:
a mantissa below 2**53 divided by a power of ten up to 10**22, both exact, is rounded correctly
(Clinger, PLDI 1990).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

_TENS = 10.0 ** np.arange(23)
_MOST = 1 << 53
_SPACE, _TAB, _LF, _CR = 32, 9, 10, 13
_MINUS, _POINT, _ZERO, _NINE = 45, 46, 48, 57
_SMALL_E, _BIG_E, _PLUS = 101, 69, 43


@njit(cache=True, nogil=True)
def decimal(text: Bytes, at: int) -> tuple[float, int]:
    """Read the number at ``at`` after blanks of the same line.

    Returns:
        The number, and the place after it; -1 there when this is no plain number.
    """
    end = text.size
    while at < end and (text[at] == _SPACE or text[at] == _TAB):
        at += 1
    negative = at < end and text[at] == _MINUS
    if negative:
        at += 1
    mantissa = 0
    digits = 0
    scale = 0
    point = False
    while at < end:
        byte = text[at]
        if _ZERO <= byte <= _NINE:
            mantissa = mantissa * 10 + (byte - _ZERO)
            digits += 1
            if point:
                scale -= 1
            if mantissa >= _MOST:
                return 0.0, -1
        elif byte == _POINT and not point:
            point = True
        else:
            break
        at += 1
    if digits == 0:
        return 0.0, -1
    if at < end and (text[at] == _SMALL_E or text[at] == _BIG_E):
        at += 1
        sign = 1
        if at < end and (text[at] == _MINUS or text[at] == _PLUS):
            sign = -1 if text[at] == _MINUS else 1
            at += 1
        power = 0
        start = at
        while at < end and _ZERO <= text[at] <= _NINE and power < 1000:
            power = power * 10 + (text[at] - _ZERO)
            at += 1
        if at == start:
            return 0.0, -1
        scale += sign * power
    if at < end and text[at] > _SPACE:
        return 0.0, -1
    if scale < -22 or scale > 22:
        return 0.0, -1
    value = float(mantissa)
    if scale < 0:
        value /= _TENS[-scale]
    elif scale > 0:
        value *= _TENS[scale]
    return (-value if negative else value), at


@njit(cache=True, nogil=True)
def whole(text: Bytes, at: int) -> tuple[np.uint64, int]:
    """Read the whole number at ``at`` after blanks of the same line, exactly, up to 19 digits.

    Returns:
        The number, and the place after it; -1 there when it is none.
    """
    end = text.size
    while at < end and (text[at] == _SPACE or text[at] == _TAB):
        at += 1
    value = np.uint64(0)
    start = at
    while at < end and _ZERO <= text[at] <= _NINE:
        value = value * np.uint64(10) + np.uint64(text[at] - _ZERO)
        at += 1
    if at == start or at - start > 19 or (at < end and text[at] > _SPACE):
        return value, -1
    return value, at


@njit(cache=True, nogil=True)
def skip_line(text: Bytes, at: int, fields: int) -> int:
    """Skip just so many fields up to the end of the line.

    Returns:
        The start of the next line, or -1 when the line has another number of fields.
    """
    end = text.size
    while True:
        while at < end and (text[at] == _SPACE or text[at] == _TAB or text[at] == _CR):
            at += 1
        if at >= end:
            return at if fields == 0 else -1
        if text[at] == _LF:
            return at + 1 if fields == 0 else -1
        if fields == 0:
            return -1
        fields -= 1
        while at < end and text[at] > _SPACE:
            at += 1
        if at < end and text[at] < _SPACE and not _TAB <= text[at] <= _CR:
            return -1


@njit(cache=True, nogil=True)
def matrix(text: Bytes, columns: int) -> tuple[NDArray[np.float64], bool]:
    """Read rows of numbers, one row a line, blanks between; blank lines at the end are allowed.

    Returns:
        (rows, columns), and whether all went well.
    """
    most = text.size // (2 * columns) + 1
    rows = np.empty((most, columns))
    count = 0
    at = 0
    while at < text.size:
        rest = skip_line(text, at, 0)
        if rest >= 0:  # a blank line: only more of them may follow
            while rest >= 0 and rest < text.size:
                rest = skip_line(text, rest, 0)
            return rows[:count], rest >= 0
        if count == most:
            return rows[:count], False
        for column in range(columns):
            rows[count, column], at = decimal(text, at)
            if at < 0:
                return rows[:count], False
        at = skip_line(text, at, 0)
        if at < 0:
            return rows[:count], False
        count += 1
    return rows[:count], True


def number_of(field: bytes) -> float:
    """Return the number that a field is.

    Raises:
        ValueError: it is none; Python's ``1_000`` is none to a sensor.
    """
    if b"_" in field:
        raise ValueError(f"could not convert string to float: {field!r}")
    return float(field)


def matrix_by_lines(text: bytes, columns: int) -> NDArray[np.float64]:
    """Read what :func:`matrix` reads, and all other numbers, line by line.

    Returns:
        (rows, columns).

    Raises:
        RejectedError: a line has another number of fields or something that is no number.
    """
    from c2vl.skeletons.datasets.base import RejectedError

    rows: list[list[float]] = []
    for number, line in enumerate(text.rstrip().split(b"\n"), start=1):
        fields = line.split()
        if len(fields) != columns:
            raise RejectedError(f"{len(fields)} numbers in a line, expected {columns}", number)
        try:
            rows.append([number_of(field) for field in fields])
        except ValueError as error:
            raise RejectedError(f"not a number: {str(error)[-60:]}", number) from None
    return np.array(rows).reshape(-1, columns)
