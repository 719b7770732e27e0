from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2vl.skeletons.layout import KINECT20, LAYOUTS, NTU25, NWUCLA20, JointLayout, get_layout
from c2vl.skeletons.layout_files import layout_yaml, read_layout
from c2vl.support.errors import UserError

NTU_BONES = """1-2 2-21 3-21 4-3 5-21 6-5 7-6 8-7 9-21 10-9 11-10 12-11 13-1 14-13 15-14 16-15 17-1
18-17 19-18 20-19 22-23 23-8 24-25 25-12 21-21"""
UTD_BONES = """1-2 2-3 3-4 5-2 6-5 7-6 8-7 9-2 10-9 11-10 12-11 13-4 14-13 15-14 16-15 17-4 18-17
19-18 20-19 4-4"""


@pytest.mark.parametrize(("layout", "bones"), [(NTU25, NTU_BONES), (KINECT20, UTD_BONES)])
def test_bones_are_those_of_the_dataset(layout: JointLayout, bones: str) -> None:
    expected = {tuple(int(joint) - 1 for joint in bone.split("-")) for bone in bones.split()}
    assert set(enumerate(layout.parents)) == expected


def test_nw_ucla_has_the_bones_of_kinect_v1_in_the_sensors_order() -> None:
    def bones(layout: JointLayout) -> set[tuple[str, str]]:
        parents = (layout.joints[parent] for parent in layout.parents)
        return set(zip(layout.joints, parents, strict=True))

    assert bones(NWUCLA20) == bones(KINECT20)
    limbs = [
        f"{side}_{joint}"
        for joints in (["shoulder", "elbow", "wrist", "hand"], ["hip", "knee", "ankle", "foot"])
        for side in ("left", "right")
        for joint in joints
    ]
    assert list(NWUCLA20.joints[:4]) == ["hip_center", "spine", "shoulder_center", "head"]
    assert list(NWUCLA20.joints[4:]) == limbs
    assert NWUCLA20.centre == 2 and NWUCLA20.shoulders == (4, 8)


def test_named_joints() -> None:
    assert NTU25.centre == 20 and NTU25.shoulders == (4, 8)
    assert KINECT20.joints[KINECT20.centre] == "shoulder_center" and KINECT20.shoulders == (4, 8)
    assert len(NTU25.pairs) == 10 and len(KINECT20.pairs) == 8


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=str)
def test_round_trip_and_mirror(layout: JointLayout) -> None:
    assert JointLayout.from_dict(layout.to_dict()) == layout
    mirrored = layout.mirrored
    assert [mirrored[joint] for joint in mirrored] == list(range(len(layout.joints)))
    for here, there in enumerate(mirrored):  # the skeleton is symmetric, its bones too
        assert mirrored[layout.parents[here]] == layout.parents[there]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parents": [1, 0]}, "its own parent"),
        ({"parents": [0, 5]}, "outside"),
        ({"joints": ["a", "a"]}, "unique"),
        ({"parents": [0]}, "1 parents for 2 joints"),
        ({"pairs": [[0, 1], [1, 0]]}, "two left-right pairs"),
        ({"shoulders": 3}, "joint layout"),
        ({"shoulders": [1, 1]}, "two joints"),
    ],
)
def test_nonsense_is_named(change: dict[str, object], message: str) -> None:
    good = {"name": "two", "joints": ["a", "b"], "parents": [0, 0], "pairs": [], "centre": 0}
    JointLayout.from_dict({**good, "shoulders": [0, 1]})
    with pytest.raises(UserError, match=message):
        JointLayout.from_dict({**good, "shoulders": [0, 1], **change})


def test_loops_and_unknown_names() -> None:
    with pytest.raises(UserError, match="loop"):
        JointLayout("x", ("a", "b", "c"), (0, 2, 1), (), 0, (0, 1))
    with pytest.raises(UserError, match='did you mean "ntu25"'):
        get_layout("ntu52")


YAML = """\
name: walker
joints: [pelvis, chest, left, right]
parents: {pelvis: null, chest: pelvis, left: chest, right: chest}
pairs: [[left, right]]
centre: chest
shoulders: [left, right]
"""
WALKER = JointLayout(
    "walker", ("pelvis", "chest", "left", "right"), (0, 0, 1, 1), ((2, 3),), 1, (2, 3)
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("{pelvis: null, chest: pelvis, left: chest, right: chest}", "[~, pelvis, chest, chest]"),
        ("pelvis: null", "pelvis: pelvis"),
        ("\n", "\r\n"),
        ("name", "\ufeffname"),
    ],
)
def test_ways_to_write_a_layout(old: str, new: str, tmp_path: Path) -> None:
    file = tmp_path / "walker.yaml"
    file.write_bytes(YAML.replace(old, new, 1 if old == "name" else -1).encode())
    assert read_layout(file) == WALKER


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("centre:", "center:", 'unknown field "center"; did you mean "centre"?'),
        ("pairs: [[left, right]]\n", "", "pairs is missing; a layout has name, joints, parents"),
        ("name: walker", "name: 3", "name: 3 is no name"),
        ("name: walker", "name: ntu25", '"ntu25" is a built-in layout, and another'),
        ("[pelvis, chest, left,", "[pelvis, chest, no,", "joints: False is no name"),
        ("[pelvis, chest, left,", "[pelvis, chest, pelvis,", '"pelvis" is there twice'),
        ("[pelvis, chest, left, right]", "4", "joints: expected a list, found 4"),
        ("left: chest", "left: chset", 'parents: "chset" is none of the joints; did you mean'),
        ("left: chest", "elbow: chest", 'parents: "elbow" is none of the joints'),
        ("left: chest, ", "", "parents: left missing"),
        ("left: chest", "chest: left", 'line 3: the key "chest" is there twice'),
        ("{pelvis: null, chest: pelvis, left", "[a] #", "each of the 4 joints.*a list of 1"),
        ("pelvis: null", "pelvis: chest", r"walker.yaml: one joint must be its own parent"),
        ("chest: pelvis", "chest: left", "walker.yaml: the parents form a loop"),
        ("[[left, right]]", "[[left]]", r"pairs: expected \[left, right\], found a list of 1"),
        ("[[left, right]]", "[[left, left]]", "walker.yaml: a joint is in two left-right pairs"),
        ("centre: chest", "centre: [chest]", "centre: .* is none of the joints"),
        ("shoulders: [left, right]", "shoulders: left", "shoulders: expected .left, right."),
        ("shoulders: [left, right]", "shoulders: [left, left]", "shoulders must be two joints"),
        (YAML, "- a list", "expected the fields of a joint layout, found a list of 1"),
        (YAML, "", "expected the fields of a joint layout, found None"),
        (YAML, "a: [", "cannot be read as YAML"),
        (YAML, "[" * 3000, "cannot be read as YAML"),
        (YAML, "!!python/object/apply:os.system [exit]", "cannot be read as YAML"),
        (YAML, "a: &a {x: 1}\nb: {<<: *a}", 'unknown field "a"'),
        (YAML, "name: 2020-99-99", "cannot be read as YAML"),
        (YAML, "#" * (1 << 20) + "\n", "over 1 MiB"),
    ],
)
def test_each_mistake_in_a_layout_file_is_named(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "walker.yaml"
    assert old in YAML
    file.write_text(YAML.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=message) as error:
        read_layout(file)
    assert str(error.value).startswith(f"{file}: ")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_layout(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        read_layout(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: dépôt".encode("latin-1"))
    with pytest.raises(UserError, match="line 1: not UTF-8 text"):
        read_layout(str(tmp_path / "latin.yaml"))


NAMES = st.one_of(
    st.sampled_from(["null", "no", "1", "1e3", "- a", "a: b", "#", "~", "'", "2020-01-01", "é"]),
    st.text(min_size=1, max_size=120).filter(lambda s: s.isprintable() and bool(s.strip())),
)


@st.composite
def layouts(draw: st.DrawFn) -> JointLayout:
    joints = draw(st.lists(NAMES, min_size=2, max_size=12, unique=True))
    count = len(joints)
    order = draw(st.permutations(range(count)))  # order[0] is the root; each hangs on an earlier
    parents = dict.fromkeys(order[:1], order[0])
    for place in range(1, count):
        parents[order[place]] = order[draw(st.integers(0, place - 1))]
    ends = draw(st.permutations(range(count)))
    paired = draw(st.integers(0, count // 2))
    return JointLayout(
        name=draw(NAMES.filter(lambda name: name not in LAYOUTS)),
        joints=tuple(joints),
        parents=tuple(parents[joint] for joint in range(count)),
        pairs=tuple((ends[2 * n], ends[2 * n + 1]) for n in range(paired)),
        centre=draw(st.integers(0, count - 1)),
        shoulders=(ends[0], ends[1]),
    )


@settings(max_examples=60, deadline=None)
@given(layout=layouts())
def test_any_layout_is_read_back_from_its_file(
    layout: JointLayout, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "layout.yaml"
    file.write_text(layout_yaml(layout), encoding="utf-8")
    assert read_layout(file) == layout


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=str)
def test_built_in_layouts_are_read_back(layout: JointLayout, tmp_path: Path) -> None:
    file = tmp_path / "layout.yaml"
    file.write_text(layout_yaml(layout), encoding="utf-8")
    assert read_layout(file) == layout


def test_the_standard_library_is_enough() -> None:
    program = "import sys, c2vl.skeletons.layout; print({'yaml', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
