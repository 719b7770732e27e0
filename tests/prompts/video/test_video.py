"""Frames, persons, crops and answers, one by one, and everything that can be wrong with them."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from c2vl.prompts.video import crops
from c2vl.prompts.video import sources as videos
from c2vl.prompts.video.answers import Answer, captions_of, usable_text
from c2vl.prompts.video.captioners import LocalCaptioner
from c2vl.prompts.video.frames import Clip, Frame, sample
from c2vl.prompts.video.persons import ColourJoints, Detector, colour_boxes, union
from c2vl.prompts.video.questions import SETS, questions
from c2vl.skeletons.rejected import RejectedError
from c2vl.support.errors import UserError

Make = Callable[..., Path]


def grey(frame: Frame) -> int:
    """Which frame it is: see ``make_video``."""
    return round(float(np.asarray(frame.image)[40:, :, 0].mean()) / 8)


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_frames_are_the_middles_of_equal_parts(
    make_video: Make, tmp_path: Path, suffix: str
) -> None:
    video = make_video(tmp_path / f"v{suffix}")  # 20 frames, 10 a second
    assert [grey(f) for f in sample(Clip("a", video), 10)] == list(range(1, 20, 2))
    cut = Clip("a", video, 0.5, 1.5)
    assert [grey(f) for f in sample(cut, 5)] == [6, 8, 10, 12, 14]
    in_frames = Clip("a", video, 5, 15, in_frames=True)
    assert [grey(f) for f in sample(in_frames, 5)] == [6, 8, 10, 12, 14]
    few = sample(Clip("a", video, 0.0, 0.2), 6)  # fewer frames than asked: some twice
    assert len(few) == 6 and len({grey(f) for f in few}) <= 3
    assert [round(f.share, 3) for f in few] == [round((i + 0.5) / 6, 3) for i in range(6)]


def test_bad_videos_are_rejected_with_the_reason(make_video: Make, tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.avi", frames=60)
    whole = video.read_bytes()
    with pytest.raises(RejectedError, match="passes the end"):
        sample(Clip("a", video, 1.0, 9.0), 4)
    with pytest.raises(RejectedError, match="is empty"):
        sample(Clip("a", video, 3.0, 3.0), 4)
    with pytest.raises(RejectedError, match="no such video"):
        sample(Clip("a", tmp_path / "none.avi"), 4)
    for name, data in (("junk.avi", b"junk" * 999), ("empty.avi", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(RejectedError, match="cannot be decoded"):
            sample(Clip("a", tmp_path / name), 4)
    (tmp_path / "half.avi").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RejectedError):
        sample(Clip("a", tmp_path / "half.avi", 0.0, 6.0), 16)


def test_datasets_name_their_videos(tmp_path: Path) -> None:
    for name in ("S001C001P001R001A001_rgb.avi", "sub/S001C001P001R001A002_rgb.avi"):
        (tmp_path / "ntu" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ntu" / name).touch()
    ids = [clip.id for clip in videos.find("ntu", tmp_path / "ntu")]
    assert ids == ["S001C001P001R001A001", "S001C001P001R001A002"]
    (tmp_path / "utd").mkdir()
    (tmp_path / "utd" / "a1_s2_t3_color.avi").touch()
    assert videos.find("utd-mhad", tmp_path / "utd")[0].id == "a1_s2_t3"
    pku, labels = tmp_path / "pku", tmp_path / "labels"
    pku.mkdir(), labels.mkdir()
    for name in ("A01N02-M.avi", "0002-L.avi"):
        (pku / name).touch()
        (labels / f"{name[:-4]}.txt").write_text("48,100,190,2\n5,200,260,1\n")
    clips = videos.find("pku-mmd", pku, labels)
    second = ["A001N002V002C005L002", "A001N002V002C048L001"]
    first = ["R0002V001C005L002", "R0002V001C048L001"]
    assert [clip.id for clip in clips] == [*second, *first]
    assert (clips[1].start, clips[1].end, clips[1].in_frames) == (100, 190, True)
    with pytest.raises(UserError, match="--labels"):
        videos.find("pku-mmd", pku)
    (labels / "0002-L.txt").write_text("wrong\n")
    with pytest.raises(UserError, match="expected rows class"):
        videos.find("pku-mmd", pku, labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id\na\n", "needs columns id and video"),
        ("id,video,start,end\na,v.avi,x,2\n", "line 2: start and end must be numbers"),
        ("id,video\na,../v.avi\n", "outside the folder"),
        ("id,video\na,v.avi\na,w.avi\n", "a occurs twice"),
        ("id,video\n", "names no sequence"),
    ],
)
def test_a_wrong_list_is_one_message(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        videos.find("list", tmp_path / "list.csv")


def frame(size: tuple[int, int] = (192, 108), share: float = 0.5) -> Frame:
    return Frame(Image.new("RGB", size, (9, 9, 9)), 0.0, share)


def test_colour_joints_give_the_box_around_all_bodies(demo_raw: Path, demo_store: object) -> None:
    path = sorted(demo_raw.glob("*.skeleton"))[0]
    finder = ColourJoints(demo_raw)
    found = finder.boxes(path.stem, [frame(share=0.1), frame(share=0.9)])
    tokens = path.read_text().split()
    xy = np.array(tokens[13 : 13 + 25 * 12], dtype=float).reshape(25, 12)[:, 5:7]
    first = colour_boxes(path.read_bytes())[0]
    np.testing.assert_allclose(first, [*xy.min(0), *xy.max(0)])
    assert all(box is not None and 0 <= box[0] < box[2] <= 192 for box in found)
    with pytest.raises(RejectedError, match="no skeleton file"):
        finder.boxes("S001C001P001R001A099", [frame()])
    with pytest.raises(RejectedError, match="damaged"):
        colour_boxes(path.read_bytes()[:900])


def test_two_persons_give_the_union_and_nobody_none() -> None:
    boxes = np.array([[10, 10, 30, 50], [11, 10, 30, 50], [60, 5, 80, 40], [0, 0, 5, 5]])
    assert union(boxes, np.array([0.9, 0.8, 0.7, 0.6]), (100, 100)) == (10, 5, 80, 50)
    assert union(np.empty((0, 4)), np.empty(0), (100, 100)) is None
    assert union(np.array([[-9, -9, -1, -1]]), np.array([0.9]), (100, 100)) is None


def test_a_detector_of_transformers_finds_boxes(tiny_owl: Path) -> None:
    """Random weights find anything with some score, and nothing above every score."""
    frames = [frame((64, 48)), frame((64, 48))]
    found = Detector.load(tiny_owl, threshold=0.0).boxes("a", frames)
    assert all(box is not None and box[2] <= 64 and box[3] <= 48 for box in found)
    nobody = Detector.load(tiny_owl, threshold=0.9999).boxes("a", frames)
    assert nobody == [None, None]
    with pytest.raises(RejectedError, match="no person is found in any of 2"):
        crops.fill(nobody)
    assert crops.fill([None, (0, 0, 1, 1), None]) == [(0, 0, 1, 1)] * 3


def test_crops_are_square_padded_and_read_back(tmp_path: Path) -> None:
    image = Image.new("RGB", (100, 80), (0, 0, 255))
    image.paste((255, 0, 0), (40, 20, 60, 70))
    cut = np.asarray(crops.crop(image, (40, 20, 60, 70), margin=0.0, size=50))
    assert cut.shape == (50, 50, 3)
    assert (cut[25, 2] == 0).all() and cut[25, 25, 0] > 250 and cut[25, 25, 2] < 5
    edge = crops.crop(image, (-5, -5, 300, 300), margin=0.5, size=20)
    assert edge.size == (20, 20)
    for kind in ("jpeg", "webp"):
        pictures = {f"a/{i}": crops.encode(edge, kind) for i in range(3)}  # type: ignore[arg-type]
        places = crops.write_shard(tmp_path / "s.tar", pictures)
        for name, data in pictures.items():
            assert crops.read_crop(tmp_path / "s.tar", places[name], len(data)) == data
            assert Image.open(io.BytesIO(data)).size == (20, 20)
    with pytest.raises(UserError, match="ends before"):
        crops.read_crop(tmp_path / "s.tar", 10**6, 9)


def test_a_model_answers_by_its_chat_template(tiny_llava: Path, tmp_path: Path) -> None:
    """Deterministic, the same in batches of any size, cut at the limit of tokens."""
    draw = np.random.default_rng(0)
    pictures = [
        crops.encode(Image.fromarray(draw.integers(0, 255, (20, 20, 3), dtype=np.uint8)), "jpeg")
        for _ in range(5)
    ]
    asked = ["the left hand goes up ?", "fast", "a body stands", "fast", "the hand"]
    one = LocalCaptioner.load(tiny_llava, batch_size=2, max_tokens=6)
    found = one.answers(pictures, asked)
    assert found == LocalCaptioner.load(tiny_llava, batch_size=5, max_tokens=6).answers(
        pictures, asked
    )
    assert len(found) == 5 and not any(answer.error for answer in found)
    assert {len(answer.text.split()) for answer in found} <= set(range(9))
    copy = tmp_path / "model"
    shutil.copytree(tiny_llava, copy)
    for file in ("processor_config.json", "preprocessor_config.json"):
        (copy / file).unlink(missing_ok=True)
    with pytest.raises(UserError, match="has no image processor"):
        LocalCaptioner.load(copy)


@pytest.mark.parametrize("begin", ["", "[CLS]"])
def test_a_question_begins_once(begin: str, tiny_llava: Path, tmp_path: Path) -> None:
    """Chat templates of Gemma 3 and Llama 3.2 Vision write the token that the tokenizer adds."""
    asked = LocalCaptioner.load(tiny_llava, max_tokens=2)
    asked._processor.chat_template = begin + asked._processor.chat_template
    asked._processor.tokenizer.bos_token = "[CLS]"
    seen, generate = [], asked._model.generate
    asked._model.generate = lambda **given: seen.append(given["input_ids"]) or generate(**given)
    asked.answers([crops.encode(Image.new("RGB", (20, 20)), "jpeg")], ["the hand"])
    first = asked._processor.tokenizer.bos_token_id
    assert (seen[0] == first).sum() == 1 and seen[0][0, 0] == first


def test_answers_are_judged_by_the_stated_rule() -> None:
    assert usable_text(Answer(" He  waves. ")) == ("He waves.", "ok")
    assert usable_text(Answer("He waves. Then he wal", whole=False)) == ("He waves.", "cut")
    assert usable_text(Answer("He wal", whole=False)) == ("", "cut")
    assert usable_text(Answer("\n")) == ("", "empty")
    for text in (
        "I'm sorry, but I can't assist.",
        "I cannot see the image.",
        "As an AI model, I",
        "I\u2019m sorry, but I can\u2019t identify the person.",
        "I can\u2019t identify people in images.",
        "Unfortunately, I cannot help with that.",
        "<think>A person?</think> I can't identify people.",
        "It is not possible to tell what the person does.",
        "I\u2019m really sorry, but no.",
        "I must decline to describe people.",
        "My apologies, but I cannot identify them.",
        "I'm afraid I can't do that.",
        "I was unable to see a person.",
        "Due to privacy concerns, I can't describe this person.",
        "Thank you for the image. However, I can't identify people.",
    ):
        assert usable_text(Answer(text)) == ("", "refusal"), text
    for text in (
        "I can't help but notice that he waves.",
        "Unfortunately, he falls.",
        "Due to the kick, he bends.",
        "He sits [thinking].",
    ):
        assert usable_text(Answer(text)) == (text, "ok")
    for text in (
        "<think>He may wave.</think>\n\nHe waves.",
        "He may wave.</think> He waves.",
        "<thought>Hm</thought>He waves.",
        "<seed:think>Hm</seed:think>He waves.",
        "◁think▷Hm◁/think▷He waves.",
        "[THINK]Hm[/THINK]He waves.",
        "<|channel|>analysis<|message|>Hm<|end|><|channel|>final<|message|>He waves.",
    ):
        assert usable_text(Answer(text)) == ("He waves.", "ok")
    for text in (
        "<think>He may wave. He may",
        "He waves.</think><think>Or does",
        "◁think▷He may",
        "[THINK]He may",
        "<|channel|>analysis<|message|>He may",
    ):
        assert usable_text(Answer(text, whole=False)) == ("", "cut")
    assert usable_text(Answer("I can see a man who is sorry."))[1] == "ok"
    good, bad = Answer("He waves."), Answer("Sorry, I can't.")
    texts, status = captions_of([bad, good, Answer("He sits."), Answer("")])
    assert texts == ["He waves.", "He waves.", "He sits.", "He sits."]
    assert status == ["refusal", "ok", "ok", "empty"]
    with pytest.raises(RejectedError, match="only 1 of 4 answers are usable"):
        captions_of([bad, bad, good, bad])
    with pytest.raises(RejectedError, match="1 of 2 questions failed: HTTP 500"):
        captions_of([good, Answer("", error="HTTP 500")])


def test_questions_come_in_sets() -> None:
    assert questions(()) == ("What is she trying to do? Please crop the person.",)
    assert questions(("body",)) == SETS["body"]
    assert questions(("What is it?", "Where is it?")) == ("What is it?", "Where is it?")
    with pytest.raises(UserError, match="did you mean"):
        questions(("bodi",))
    words = " ".join(SETS["body"]).lower().split()
    assert not {"he", "she", "him", "her", "his", "man", "woman"} & set(words)


def test_a_list_may_leave_spans_out(make_video: Make, tmp_path: Path) -> None:
    make_video(tmp_path / "v.avi")
    rows = pd.DataFrame({"id": ["a", "b"], "video": ["v.avi"] * 2, "start": [None, 0.5]})
    rows.to_csv(tmp_path / "list.csv", index=False)
    clips = videos.find("list", tmp_path / "list.csv")
    assert [(clip.start, clip.end) for clip in clips] == [(0.0, None), (0.5, None)]
