"""Drawings: of layouts, and of sequences as GIF and as a page that plays them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from c2vl.commands.data import data
from c2vl.drawing.animation import schedule, write_gif
from c2vl.drawing.figure import bones, layout_figure, mean_pose, neutral_pose, project
from c2vl.drawing.player import player_code, player_html, write_html
from c2vl.drawing.recording import Caption, Recording, find_sequence, record
from c2vl.prompts.rules.captions import RULES, captions
from c2vl.prompts.rules.timeline import timeline
from c2vl.prompts.table import ConceptTable
from c2vl.prompts.table_writing import write_table
from c2vl.skeletons.layout import LAYOUTS, NTU25, JointLayout
from c2vl.skeletons.layout_files import read_layout
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from tests.browser import open_page

NASTY = "</script><script>alert(1)</script><b> & $x_2$ \u2028 \"'"


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Two bodies of a layout with odd names; the second comes late."""
    pose = neutral_pose(NTU25)
    sway = 0.2 * np.sin(np.arange(7))[:, None, None] * np.array([1, 0, 0])
    joints = np.stack([0.4 * pose + sway, 0.4 * pose - sway + (1, 0, 1)]).astype(np.float32)
    joints[1, :3] = 0
    names = tuple(f"{name}{NASTY}" for name in NTU25.joints)
    layout = dataclasses.replace(NTU25, name=NASTY, joints=names)
    told = (Caption(0, 5, "first"), Caption(3, 7, NASTY))
    return Recording(f"id{NASTY}", f"title{NASTY}", f"facts{NASTY}", joints, layout, 30.0, told)


@pytest.mark.parametrize("name", [name for name, one in LAYOUTS.items() if "head" in one.joints])
def test_the_neutral_pose_stands_upright_and_symmetric(name: str) -> None:
    layout = LAYOUTS[name]
    pose = dict(zip(layout.joints, neutral_pose(layout), strict=True))
    for name, (x, y, z) in pose.items():
        if name.startswith("left"):
            assert x < -0.1  # the sensor's right
            np.testing.assert_allclose(pose["right" + name.removeprefix("left")], (-x, y, z))
        elif not name.startswith("right"):
            assert x == 0
    centre = layout.joints[layout.centre]
    order = ["head", centre, "left_hip", "left_knee", "left_ankle", "left_foot"]
    heights = [pose[name][1] for name in order if name in pose]
    assert heights == sorted(heights, reverse=True)
    points = np.stack(list(pose.values()))
    apart = np.linalg.norm(points[:, None] - points, axis=-1) + np.eye(len(points))
    assert apart.min() > 0.3  # nothing lies on anything else


def test_any_other_tree_is_drawn_too() -> None:
    """A hand, whose fingers are no pairs; two limbs without a middle; a face with ears."""
    hand = JointLayout("hand", tuple("wabcdef"), (0, 0, 1, 0, 3, 0, 5), (), 0, (1, 3))
    bar = JointLayout("bar", ("l", "r"), (0, 0), ((0, 1),), 0, (0, 1))
    face = JointLayout(
        *("face", tuple("nlrabxy"), (0, 0, 0, 1, 2, 3, 4), ((1, 2), (3, 4), (5, 6)), 0, (5, 6))
    )
    faces = [one for one in LAYOUTS.values() if "head" not in one.joints]
    for layout in (hand, bar, face, *faces):
        pose = neutral_pose(layout)
        assert pose.shape == (len(layout.joints), 3) and np.isfinite(pose).all()
        lengths = np.linalg.norm(np.diff(pose[bones(layout)], axis=1), axis=-1)
        assert lengths.min() > 0.4
        layout_figure(layout)


def test_people_are_seen_as_the_sensor_saw_them() -> None:
    """Facing the sensor, the left hand (-x) is on the right; nearer is nearer; no mirroring."""
    right, up, near = project(np.array([-1.0, 2.0, -3.0]), yaw=0, pitch=0)
    assert (right, up, near) == (1, 2, 3)
    axes = project(np.eye(3), yaw=0.7, pitch=0.4)
    assert np.linalg.det(axes) == pytest.approx(1)  # a rotation
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)


def test_a_layouts_picture_numbers_and_names_every_joint(demo_store: Store) -> None:
    figure = layout_figure(demo_store.layout, mean_pose(demo_store))
    figure.canvas.draw()
    (axes,) = figure.axes
    shown = [text.get_text() for text in axes.texts]
    for number, joint in enumerate(NTU25.joints):
        assert any(re.fullmatch(rf"{number}  {joint}( .*)?", text) for text in shown)
        assert str(number) in shown
    assert "20  spine_shoulder  (root, centre)" in shown
    inside = figure.bbox
    for text in [*axes.texts, *figure.texts]:
        box = text.get_window_extent()
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1, text


def test_the_gif_plays_every_frame_in_time_and_is_deterministic(
    recording: Recording, tmp_path: Path
) -> None:
    assert write_gif(recording, tmp_path / "a.gif") == 7
    write_gif(recording, tmp_path / "b.gif")
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "b.gif"]
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 7 and gif.info["loop"] == 0
        pictures, delays = [], []
        for frame in range(7):
            gif.seek(frame)
            delays.append(gif.info["duration"])
            pictures.append(np.asarray(gif.convert("RGB"), dtype=int))
    assert sum(delays) == 230 and set(delays) == {30, 40}  # 7 frames at 30 a second
    height = pictures[0].shape[0]
    stage = slice(int(0.15 * height), int(0.75 * height))
    changes = np.abs(np.diff(np.stack(pictures)[:, stage], axis=0)).sum(axis=(1, 2, 3))
    assert (changes > 0).all()
    pale = (np.abs(np.stack(pictures) - (236, 184, 149)).sum(axis=-1) < 40).sum(axis=(1, 2))
    assert pale[:3].max() < pale[3:].min()  # the second body's left side, from frame 3 on


@pytest.mark.parametrize("frames", [1, 2, 149, 150, 151, 400, 5000])
@pytest.mark.parametrize("fps", [15.0, 25.0, 30.0])
def test_a_long_sequence_is_thinned_out_and_keeps_its_pace(frames: int, fps: float) -> None:
    drawn, delays = schedule(frames, fps)
    assert len(drawn) == len(delays) == min(frames, 150)
    assert drawn[0] == 0 and drawn[-1] == frames - 1
    assert sum(delays) == pytest.approx(1000 * frames / fps, abs=5)
    starts = np.cumsum([0, *delays[:-1]])
    np.testing.assert_allclose(starts, 1000 * drawn / fps, atol=5)


def test_the_caption_whose_window_plays(recording: Recording) -> None:
    first, second = recording.captions
    assert [recording.playing(frame) for frame in (0, 2, 3)] == [first] * 3
    assert [recording.playing(frame) for frame in (4, 5, 6)] == [second] * 3
    assert dataclasses.replace(recording, captions=()).playing(3) is None


class _Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.urls: list[str] = []
        self.words = ""
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.urls += [str(value) for key, value in attrs if key in ("src", "href", "action")]

    def handle_data(self, text: str) -> None:
        if self.tags and self.tags[-1] == "script":
            self.scripts.append(text)
        else:
            self.words += text


def test_the_page_is_self_contained_and_text_is_escaped(
    recording: Recording, tmp_path: Path
) -> None:
    write_html(recording, tmp_path / "page.html")
    write_html(recording, tmp_path / "again.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text == (tmp_path / "again.html").read_text(encoding="utf-8")
    page = _Elements(text)
    assert page.urls == [] and "://" not in text and "@import" not in text and "url(" not in text
    assert page.tags.count("script") == 3 and "b" not in page.tags
    for words in ("title", "id", "facts", ""):
        assert words + NASTY in page.words
    (stored,) = [json.loads(each) for each in page.scripts if each.startswith("{")]
    bodies = stored["bodies"]
    assert bodies[1][:3] == [None] * 3 and None not in bodies[1][3:]
    found = np.array(bodies[0]).reshape(7, 25, 3) / 1000
    np.testing.assert_allclose(found, recording.joints[0], atol=0.00051)
    assert stored["captions"] == [[0, 5], [3, 7]]
    assert len(stored["bones"]) == 24 and len(stored["colours"]) == 25


@pytest.mark.browser
def test_the_player_in_a_browser(recording: Recording, tmp_path: Path) -> None:
    """Two players on one page: scrub, captions, drag, reset, play."""
    actions = """
    const said = [], [one, two] = document.querySelectorAll("section");
    const items = [...one.querySelectorAll("li")];
    const now = () => items.findIndex((item) => item.classList.contains("now"));
    const see = () => said.push([one.querySelector("output").textContent.slice(0, 12), now()]);
    const ink = () => one.querySelector("canvas").toDataURL();
    const to = (frame) => {
      const bar = one.querySelector("input");
      bar.value = frame; bar.dispatchEvent(new Event("input"));
    };
    see(); to(5); see();
    const canvas = one.querySelector("canvas"), still = ink();
    canvas.onpointermove({buttons: 1, movementX: 60, movementY: 20}); said.push(still !== ink());
    canvas.ondblclick(); said.push(still === ink());
    items[1].click(); see();
    canvas.onkeydown({key: "ArrowRight", preventDefault() {}}); see();
    two.querySelector(".play").click();
    """
    path = tmp_path / "page.html"
    path.write_text(
        f"<!doctype html><meta charset=utf-8>{player_code()}{player_html(recording)}"
        f"{player_code()}{player_html(recording)}<script>{actions}</script>",
        encoding="utf-8",
    )
    with open_page() as page:
        page.goto(path.as_uri())
        page.wait_for_function("Number(two.querySelector('input').value) > 0")
        assert page.evaluate("said") == [
            *(["frame 1 of 7", 0], ["frame 6 of 7", 1]),
            *(True, True, ["frame 4 of 7", 0], ["frame 5 of 7", 1]),
        ]
        assert page.evaluate("one.querySelector('input').value") == "4"  # the other stands still


def test_captions_are_timed_as_they_were_written(demo_store: Store, tmp_path: Path) -> None:
    texts = [captions(demo_store.joints(position), NTU25, windows=4) for position in range(2)]
    ids = [str(name) for name in demo_store.index["id"][:2]]

    def table(name: str, **more: Any) -> ConceptTable:
        return write_table(
            *(tmp_path / name, ids, np.ones((2, 4, 3), np.float32)),
            **{"modality": "language", "model": "test", "texts": texts, **more},
        )

    kinematic = table("kinematic", store=demo_store.digest, settings={"rules": RULES})
    other = table("other")
    frames = demo_store.joints(1).shape[1]
    told = timeline(kinematic, demo_store, 1)
    assert [caption.text for caption in told] == texts[1]
    spans = [(caption.start, caption.stop) for caption in told]
    assert spans == sorted(spans) and all(0 <= a < b <= frames for a, b in spans)
    assert all(b > c for (_, b), (c, _) in pairwise(spans))  # they overlap
    even = timeline(other, demo_store, 1)
    assert (even[0].start, even[-1].stop) == (0, frames) and even[1].start == frames // 4
    with pytest.raises(UserError, match="no language prompts"):
        timeline(other, demo_store, 5)
    pictures = table("pictures", modality="vision", texts=None)
    with pytest.raises(UserError, match="prompts are no texts"):
        timeline(pictures, demo_store, 1)


def test_sequences_are_found_by_id_or_row(demo_store: Store) -> None:
    ids = list(demo_store.index["id"])
    assert find_sequence(demo_store, ids[7]) == 7
    assert find_sequence(demo_store, "7") == 7
    assert record(demo_store, 7).title == demo_store.class_names[demo_store.index["label"][7]]
    with pytest.raises(UserError, match=f"did you mean .*{ids[7]}"):
        find_sequence(demo_store, ids[7][:-1])
    for wanted in ("104", "-1", "²", "9" * 30, "zzz"):
        with pytest.raises(UserError, match=r"no sequence .* 0 to 103\)"):
            find_sequence(demo_store, wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :, :3], "expected"),
        (lambda x: 0 * x, "nobody is in it"),
        (lambda x: x * np.float32(np.nan), "not finite"),
    ],
)
def test_what_cannot_be_drawn_is_named(
    recording: Recording, change: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(recording, joints=change(recording.joints))


def test_commands(demo_store: Store, tmp_path: Path) -> None:
    def run(*words: object) -> str:
        done = CliRunner().invoke(data, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    listed = run("layouts")
    assert all(name in listed for name in LAYOUTS)
    shown = run("layouts", "kinect20", "--out", tmp_path / "new" / "kinect20.yaml")
    assert "shoulder_center" in shown
    assert read_layout(tmp_path / "new" / "kinect20.yaml") == LAYOUTS["kinect20"]
    run("layouts", tmp_path / "new" / "kinect20.yaml", "--out", tmp_path / "kinect20.png")
    with Image.open(tmp_path / "kinect20.png") as picture:
        assert picture.size > (1000, 700)
    assert "(" in run("view", demo_store.path, 3, tmp_path / "three.html")
    assert (tmp_path / "three.html").stat().st_size > 10_000
    for words, message in [
        (("layouts", "ntu52"), 'did you mean "ntu25"'),
        (("layouts", "ntu25", "--out", tmp_path / "a.jpg"), "end it in .png"),
        (("layouts", "--out", tmp_path / "a.png"), "say which layout"),
        (("layouts", tmp_path / "absent.yaml"), "no such file"),
        (("view", demo_store.path, 3, tmp_path / "a.mp4"), "end it in .gif"),
        (("view", demo_store.path, 999, tmp_path / "a.gif"), "no sequence 999"),
        (("view", tmp_path / "absent", 3, tmp_path / "a.gif"), "absent"),
        (("view", demo_store.path, 3, tmp_path / "three.html" / "a.gif"), "cannot be written"),
    ]:
        with pytest.raises(UserError, match=message):
            run(*words)
    assert {path.name for path in tmp_path.iterdir()} == {"new", "kinect20.png", "three.html"}


def test_a_write_that_fails_leaves_the_old_file(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page.html"
    out.write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(UserError, match=r"page.html: cannot be written \(disk full\)"):
        write_html(recording, out)
    assert out.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["page.html"]
