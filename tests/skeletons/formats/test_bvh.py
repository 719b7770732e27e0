"""Forward kinematics against closed form, and files as they are found in the wild."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from c2vl.skeletons.formats.bvh import read_bvh
from c2vl.skeletons.rejected import RejectedError

ORDERS = ["".join(order) for order in itertools.permutations("XYZ")]
ANGLES = st.lists(st.floats(-360, 360, width=32), min_size=3, max_size=3)


def chain(orders: list[str], offsets: list[list[float]], rows: list[list[float]]) -> bytes:
    """Write a chain of joints; the root has position channels first."""
    text, close = "HIERARCHY\n", ""
    for number, (order, offset) in enumerate(zip(orders, offsets, strict=True)):
        kind = "ROOT" if not number else "JOINT"
        rotations = " ".join(f"{axis}rotation" for axis in order)
        positions = "" if number else "Xposition Yposition Zposition "
        count = 3 if number else 6
        text += f"{kind} j{number}\n{{\nOFFSET {' '.join(map(repr, offset))}\n"
        text += f"CHANNELS {count} {positions}{rotations}\n"
        close += "}\n"
    lines = "".join(" ".join(map(repr, row)) + "\n" for row in rows)
    end = "End Site\n{\nOFFSET 0 1 0\n}\n"
    return f"{text}{end}{close}MOTION\nFrames: {len(rows)}\nFrame Time: 0.01\n{lines}".encode()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(ORDERS), ANGLES, ANGLES), min_size=1, max_size=4),
    st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3),
)
def test_positions_are_the_product_of_the_rotations(
    joints: list[tuple[str, list[float], list[float]]], root: list[float]
) -> None:
    orders = [order for order, _, _ in joints]
    offsets = [offset for _, offset, _ in joints]
    row = [*root, *(angle for _, _, angles in joints for angle in angles)]
    motion = read_bvh(chain(orders, offsets, [row, row]))
    place, turned = np.array(root), Rotation.identity()
    expected = [place]
    for number, (order, _, angles) in enumerate(joints):
        turned = turned * Rotation.from_euler(order, angles, degrees=True)  # intrinsic: capitals
        if number + 1 < len(joints):
            place = place + turned.apply(offsets[number + 1])
            expected.append(place)
    assert np.allclose(motion.positions(), np.stack([expected, expected]), atol=1e-6)


def test_a_quarter_turn_about_z_lays_the_arm_along_minus_x() -> None:
    text = chain(["ZXY", "ZXY"], [[0, 0, 0], [0, 2, 0]], [[1, 5, 0, 90, 0, 0, 45, 45, 45]])
    assert np.allclose(read_bvh(text).positions()[0], [[1, 5, 0], [-1, 5, 0]])


WILD = b"""\xef\xbb\xbfHIERARCHY\r
ROOT Bip01 Pelvis\r
{\r
\tOFFSET\t1.0e1, 0.0, 0.0\r
\tCHANNELS 6 XPOSITION yposition Zposition Zrotation Xrotation Yrotation\r
\tJOINT hand\r
\t{\r
\t\tOFFSET 0 1 0\r
\t\tCHANNELS 3 Zrotation Xrotation Yrotation\r
\t\tJOINT hand { OFFSET 0 1 0 CHANNELS 0\r
\t\tEnd site tip { OFFSET 0 0 0 } }\r
\t}\r
}\r
\r
MOTION\r
frames:\t4\r
\r
FRAME TIME: 3.3333e-2\r
0,0,0\t0 0 0  0 0 0\r
\r
1 2 3 0 0 0 0 0 0 \r
1e0 2.0 3 0 0 0 0 0 0"""


def test_files_of_the_wild_are_read() -> None:
    motion = read_bvh(WILD)
    assert [joint.name for joint in motion.joints] == ["Bip01 Pelvis", "hand", "hand"]
    assert len(motion.channels) == 3, "of four declared frames three are there"
    assert motion.positions()[2].tolist() == [[1, 2, 3], [1, 3, 3], [1, 4, 3]]
    assert motion.seconds == pytest.approx(1 / 30, rel=1e-4)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        (b"MOTION", b"MOTIONS", None, "no line MOTION"),
        (b"Zposition Zrotation", b"Zposition Wrotation", 5, '"Wrotation" is no channel'),
        (b"OFFSET 0 0 0", b"OFFSET 0 x 0", 11, "not a number: x"),
        (b"} }\r", b"}\r", 13, "ends early"),
        (b"}\r\n\r\nMOTION", b"}\r\nROOT b\r\nMOTION", 14, "a second ROOT"),
        (b"FRAME TIME: 3.3333e-2", b"FRAME TIME: 0", None, "frame time is 0"),
        (b"frames:\t4", b"frames:\t2", None, "3 frames, but 2 are declared"),
        (b"frames:\t4", b"", 19, "expected Frames:"),
        (b"1 2 3 0 0 0 0 0 0 ", b"1 2 3 0 0 0 0 0", None, "8 numbers in a line, expected 9"),
        (b"1 2 3 0 0 0 0 0 0 ", b"1 2 nan 0 0 0 0 0 0 ", None, "not finite"),
    ],
)
def test_damage_is_told(old: bytes, new: bytes, line: int | None, message: str) -> None:
    assert old in WILD
    with pytest.raises(RejectedError, match=message) as caught:
        read_bvh(WILD.replace(old, new, 1))
    assert line in (None, caught.value.line)
