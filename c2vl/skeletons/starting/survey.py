"""What a folder of recordings holds: which files, their axes, joints, unit and names.

Shapes: M bodies, T frames, V joints, C = (x, y, z).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.datasets.recordings import joints_taken, taken_joints
from c2vl.skeletons.formats.bvh import read_bvh
from c2vl.skeletons.formats.plain_arrays import (
    ARRAYS,
    TEXTS,
    is_row,
    parse_axes,
    placed,
    read_numbers,
    variables,
)
from c2vl.skeletons.formats.raw_files import RawFile, list_files
from c2vl.skeletons.layout import LAYOUTS
from c2vl.skeletons.rejected import RejectedError
from c2vl.skeletons.starting.file_names import Columns, read_names
from c2vl.skeletons.starting.layout_guess import Floats, Guess, axis_and_unit, guess
from c2vl.support.errors import UserError

T = TypeVar("T")
_LOOKED_AT = 24  # recordings
_MOST_BVH = 512 << 20
_MOST_BODIES = 6
_MOST_READ = 256 << 20  # bytes up to which all recordings are looked at
_BODIES_FIRST = ("bodies", "frames", "joints", "xyz")
_COUNTS = sorted({len(layout.joints) for layout in LAYOUTS.values()})
_LINES: dict[tuple[str, ...], str] = {
    ("frames*joints", "xyz"): "text, a line a joint",
    ("frames*joints", "xyzc"): "text, a line a joint: x, y, z and a confidence, which is dropped",
    ("frames", "joints*xyz"): "text, a line a frame",
    ("frames", "joints*xyzc"): "text, a line a frame: x, y, z and a confidence, which is dropped",
}


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        reader: ``folder`` or ``bvh``.
        recordings: in the order of their names.
        left_out: files that hold no recording, and why.
        unusable: recordings that hold no body, or cannot be read; of BVH and of very much data
            nobody looks.
        shown: how the files hold joints, in words.
        axes: of the arrays, in the words of :mod:`c2vl.skeletons.formats.plain_arrays`.
        variable: of a .npz or .mat with several.
        guess: layout, axes and unit.
        frames: the median length of those looked at.
        columns: what the names say.
    """

    reader: str
    recordings: list[RawFile]
    left_out: list[tuple[str, str]]
    unusable: list[tuple[str, str]]
    shown: str
    axes: tuple[str, ...]
    variable: str
    guess: Guess
    frames: int
    columns: Columns


def survey(source: Path) -> Survey:
    """Look at a folder.

    Raises:
        UserError: no recordings are found, or nothing can be made of them; it says what was seen.
    """
    files = list_files(source)
    kinds: dict[str, list[RawFile]] = {}
    left_out: list[tuple[str, str]] = []
    for file in files:
        kind = Path(file.base).suffix.lower()
        if kind not in (*ARRAYS, *TEXTS, ".bvh"):
            continue
        if not file.size:
            left_out.append((file.name, "empty"))
        elif kind in TEXTS and not any(map(is_row, file.start(1 << 14).splitlines()[:2])):
            left_out.append((file.name, "no rows of numbers"))
        else:
            kinds.setdefault(kind, []).append(file)
    if not kinds:
        seen = ", ".join(sorted({Path(file.base).suffix for file in files if file.base})[:8])
        raise UserError(
            f"{source}: no recordings in it (.npy, .npz, .mat, text of numbers, .bvh; found: "
            f"{seen or 'nothing'}); published datasets have readers: c2vl data prepare --help"
        )
    kind = max(kinds, key=lambda one: len(kinds[one]))
    recordings = kinds.pop(kind)
    for others in kinds.values():
        left_out += [(file.name, f"most recordings are {kind}") for file in others]
    step = max(len(recordings) // _LOOKED_AT, 1)
    looked_at = recordings[::step][:_LOOKED_AT]
    reader, look = ("bvh", _bvh) if kind == ".bvh" else ("folder", _arrays)
    shown, axes, variable, guessed, frames = look(looked_at)
    unusable = []
    if reader == "folder" and sum(file.size for file in recordings) <= _MOST_READ:
        unusable = _unusable(recordings, axes, variable, len(guessed.layout.joints))
    names = read_names([file.name.removesuffix(Path(file.base).suffix) for file in recordings])
    return Survey(
        reader, recordings, left_out, unusable, shown, axes, variable, guessed, frames, names
    )


Look = tuple[str, tuple[str, ...], str, Guess, int]


def _bvh(files: list[RawFile]) -> Look:
    readable = _readable(files, lambda file: read_bvh(file.read(_MOST_BVH)))
    first, motion = readable[0]
    names = [joint.name for joint in motion.joints]
    layout, take = taken_joints(None, names, [j.parent for j in motion.joints], first.name)
    samples = []
    for file, motion in readable:
        own = [joint.name for joint in motion.joints]
        try:
            samples.append(joints_taken(motion.positions(), own, take))
        except RejectedError as error:
            raise UserError(f"{file.name}: {error}; move it to a folder of its own") from None
    frames = int(np.median([len(one) for one in samples]))
    shown = f"BVH, {motion.rate:g} frames a second, {len(layout.joints)} of {len(names)} joints"
    return shown, (), "", Guess(layout, {}, *axis_and_unit(samples, layout)), frames


def _arrays(files: list[RawFile]) -> Look:
    named = _readable(files, variables)
    first, names = named[0]
    variable = ""
    if names and not ("joints" in names or len(names) == 1):
        variable = _largest(first, set.intersection(*(set(found) for _, found in named)))
    readable = _readable(files, lambda file: read_numbers(file, variable))
    arrays = [array for _, array in readable]
    axes, joints, guessed = _axes([file for file, _ in readable], arrays)
    shapes = [_placed(array, axes, joints).shape for array in arrays]
    bodies, frames = max(shape[0] for shape in shapes), [shape[1] for shape in shapes]
    shown = _LINES.get(axes, "arrays of " + ", ".join(axes)) + f"; {joints} joints"
    shown += f", up to {bodies} bodies" if bodies > 1 else ""
    return shown, axes, variable, guessed, int(np.median(frames))


def _readable(files: list[RawFile], read: Callable[[RawFile], T]) -> list[tuple[RawFile, T]]:
    """Return what files hold, without those that cannot be read.

    Raises:
        UserError: none can; why the first one cannot.
    """
    found, reasons = [], []
    for file in files:
        try:
            found.append((file, read(file)))
        except (RejectedError, OSError) as error:
            reasons.append(f"{file.name}: {error}")
    if not found:
        raise UserError(reasons[0])
    return found


def _unusable(
    files: list[RawFile], axes: tuple[str, ...], variable: str, joints: int
) -> list[tuple[str, str]]:
    """Return the recordings that hold no body that can be read, and why."""
    found = []
    for file in files:
        try:
            x_MTVC = _placed(read_numbers(file, variable), axes, joints)
            if not np.isfinite(x_MTVC).all():
                raise RejectedError("a coordinate is not finite")
            if not x_MTVC.any():
                raise RejectedError("no frame has a body")
        except (RejectedError, OSError) as error:
            found.append((file.name, str(error)))
    return found


def _largest(file: RawFile, names: set[str]) -> str:
    """Return the variable with most numbers among those of all files."""
    sizes: Counter[str] = Counter()
    for name in sorted(names):
        try:
            sizes[name] = read_numbers(file, name).size
        except RejectedError:
            continue  # text, a structure
    if not sizes:
        raise UserError(f"{file.name}: no variable of numbers that all files have")
    return sizes.most_common(1)[0][0]


def _axes(
    files: list[RawFile], arrays: list[NDArray[np.generic]]
) -> tuple[tuple[str, ...], int, Guess]:
    """Return the axes, the number of joints, and the guess that fits bodies best."""
    shapes = [array.shape for array in arrays]
    found: Iterator[tuple[tuple[str, ...], int]]
    if len({len(shape) for shape in shapes}) > 1:
        if len({shape[-2:] for shape in shapes}) > 1 or {len(shape) for shape in shapes} != {3, 4}:
            raise UserError(f"arrays of different shapes: {', '.join(map(str, shapes[:4]))}")
        found = iter([(_BODIES_FIRST, shapes[0][-2])])
    else:
        found = _candidates(shapes)
    best: tuple[float, tuple[str, ...], int, Guess] | None = None
    for axes, joints in found:
        try:
            samples = [_first_body(_placed(array, axes, joints)) for array in arrays]
        except RejectedError:
            continue
        there = [sample for sample in samples if len(sample)]
        if there:
            guessed = guess(there)
            fit = next(iter(guessed.misfits.values()), math.inf)
            if best is None or fit < best[0]:
                best = fit, axes, joints, guessed
    if best is None and not any(map(np.any, arrays)):
        raise UserError(f"{files[0].name}: no frame has a body: every number is zero")
    if best is None:
        for file, shape in zip(files, shapes, strict=True):
            if any(_candidates([shapes[0]])) and not any(_candidates([shapes[0], shape])):
                raise UserError(
                    f"{files[0].name} has the shape {_by(shapes[0])}, {file.name} {_by(shape)}: "
                    "recordings of another number of joints, or with other axes, go to a folder "
                    "of their own"
                )
        raise UserError(
            f"{files[0].name}: an array of {_by(shapes[0])}: expected frames, joints "
            "and xyz (and bodies) as axes in some order, or a table of a line a joint or a frame. "
            "2D joints are not supported; one array of many sequences: c2vl data prepare arrays"
        )
    return best[1:]


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _candidates(shapes: list[tuple[int, ...]]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield axes and numbers of joints that arrays of these shapes may have, the usual first."""
    axes = range(len(shapes[0]))
    same = {axis: shapes[0][axis] for axis in axes if len({s[axis] for s in shapes}) == 1}
    if len(axes) == 2:
        width = same.get(1, 0)
        for word, size in (("xyz", 3), ("xyzc", 4)):
            if width == size:
                rows = math.gcd(*(shape[0] for shape in shapes))
                fit = [count for count in _COUNTS if rows % count == 0]
                for count in fit or ([rows] if 4 < rows <= 200 else []):
                    yield ("frames*joints", word), count
            elif width % size == 0 and width // size > 4:
                yield ("frames", f"joints*{word}"), width // size
        return
    for xyz in sorted(same, reverse=True):
        if same[xyz] not in (3, 4):
            continue
        word = "xyz" if same[xyz] == 3 else "xyzc"
        counts = sorted((axis for axis in same if axis != xyz and same[axis] > 4), reverse=True)
        known = [axis for axis in counts if same[axis] in _COUNTS]
        for joints in known or counts:
            rest = [axis for axis in axes if axis not in (xyz, joints)]
            if len(rest) > 2:
                continue
            rest.sort(key=lambda axis: max(shape[axis] for shape in shapes))
            if len(rest) == 2 and max(shape[rest[0]] for shape in shapes) > _MOST_BODIES:
                continue
            names = {xyz: word, joints: "joints", rest[-1]: "frames"}
            yield tuple(names.get(axis, "bodies") for axis in axes), same[joints]


def _placed(array: NDArray[np.generic], axes: tuple[str, ...], joints: int) -> NDArray[np.generic]:
    """Return (M, T, V, 3), also of an array without bodies among arrays that have them."""
    if array.ndim == 3 and axes == _BODIES_FIRST:
        array = array[None]
    return placed(array, parse_axes(axes), joints)


def _first_body(joints_MTVC: NDArray[np.generic]) -> Floats:
    """Return the frames in which the first body is there, (T', V, 3)."""
    x_TVC = np.asarray(joints_MTVC[0], np.float64)
    return x_TVC[np.isfinite(x_TVC).all((1, 2)) & x_TVC.any((1, 2))]
