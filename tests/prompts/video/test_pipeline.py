"""From generated videos to training with tiny models: whole, killed, on Ray, by an endpoint."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from c2vl.commands.prompts import prompts
from c2vl.config.reading import from_dict
from c2vl.prompts.encoders.image import ImageEncoder
from c2vl.prompts.table import ConceptTable
from c2vl.prompts.video.endpoint import TOKEN, Endpoint
from c2vl.prompts.video.estimate import Rates, hours
from c2vl.prompts.video.shards import PromptFolder
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from c2vl.training.launch import fit

Make = Callable[..., Path]


def call(*words: object, code: int = 0) -> Result:
    result = CliRunner().invoke(prompts, [str(word) for word in words])
    if code == 0:
        assert result.exit_code == 0, (result.output, result.exception)
    else:
        assert isinstance(result.exception, UserError), (result.output, result.exception)
    return result


@pytest.fixture
def clips(demo_store: Store, make_video: Make, tmp_path: Path) -> Path:
    """A list of short spans of two videos, one for each of the demo store's sequences."""
    for name in ("v0.mp4", "v1.avi"):
        make_video(tmp_path / name, frames=40)
    rows = [
        (name, f"v{i % 2}.{('mp4', 'avi')[i % 2]}", 0.02 * (i % 20), 1 + 0.02 * (i % 20))
        for i, name in enumerate(demo_store.index["id"])
    ]
    path = tmp_path / "clips.csv"
    pd.DataFrame(rows, columns=["id", "video", "start", "end"]).to_csv(path, index=False)
    return path


def some(clips: Path, number: int) -> Path:
    """The first few of the list."""
    path = clips.with_name("some.csv")
    pd.read_csv(clips).head(number).to_csv(path, index=False)
    return path


def options(model: Path, **more: object) -> list[object]:
    given = {
        "dataset": "list",
        "model": model,
        "frames": 2,
        "size": 16,
        "shard": 8,
        "max-tokens": 4,
        "question": "the hand goes up ?",
    } | more
    return [word for name, value in given.items() for word in (f"--{name}", value)]


@pytest.mark.ray
@pytest.mark.faults
def test_video_to_training_on_ray_with_a_worker_killed(
    clips: Path,
    demo_store: Store,
    tiny_llava: Path,
    tiny_owl: Path,
    tiny_clip: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Frames, crops, captions, features, training; a captioning actor is killed on the way."""
    import ray

    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    request.addfinalizer(ray.shutdown)
    mute = tmp_path / "mute"  # what an actor says of its model reaches the user as it is
    shutil.copytree(tiny_llava, mute, ignore=shutil.ignore_patterns("*template*"))
    told = call("video", some(clips, 1), tmp_path / "bad", *options(mute, workers=1), code=2)
    assert str(told.exception).startswith(f"{mute}: its processor has no chat template")
    run = tmp_path / "run"
    killed: list[int] = []

    def kill() -> None:
        """Kill one of the two captioning actors as soon as some shards are answered."""
        import psutil

        deadline = time.monotonic() + 200
        while not killed and time.monotonic() < deadline:
            if len(list((run / "answers").glob("*.parquet"))) >= 2:
                for child in psutil.Process().children(recursive=True):
                    try:
                        title = " ".join(child.cmdline())
                    except psutil.Error:
                        continue
                    if "MapWorker(Map(caption))" in title:
                        child.send_signal(signal.SIGKILL)
                        killed.append(child.pid)
                        break
            time.sleep(0.05)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    ray_options = options(
        tiny_llava, workers=2, shard=4, persons=tiny_owl, threshold=0.0, store=demo_store.path
    )
    call("video", clips, run, *ray_options)
    thread.join(timeout=5)
    assert killed
    ids = [str(name) for name in demo_store.index["id"]]
    answered = PromptFolder(run).answered()
    assert sorted(answered["id"]) == sorted(ids * 2)  # each once: none lost, none twice
    # A second run has nothing to do, and the same features come from this process and from Ray.
    again = call("video", clips, run, *ray_options)
    assert "0 sequences cropped, 0 captioned" in again.output
    folders = {name: tmp_path / name for name in ("language", "vision")}
    for modality, out in folders.items():
        workers = 1 if modality == "vision" else 0
        words = ["--encoder", tiny_clip, "--workers", workers, "--store", demo_store.path]
        call("encode", run, out, "--modality", modality, *words)
        table = ConceptTable.open(out, modality=modality)
        assert sorted(table.ids) == sorted(ids) and table.prompts_per_sample == 2
    crop = ConceptTable.open(folders["vision"]).texts(ids[0])["crop"][1]
    file, offset, length = crop.split(":")
    with (run / file).open("rb") as opened:
        opened.seek(int(offset))
        row = ImageEncoder.load(tiny_clip).encode([opened.read(int(length))])[0]
    stored = ConceptTable.open(folders["vision"]).join([ids[0]])[0, 1]
    np.testing.assert_allclose(row, stored, atol=1e-3)  # tables keep unit rows as float16
    ray.shutdown()  # the training is one of this process
    experiment = from_dict(
        {
            "data": {"store": str(demo_store.path), "frames": 16, "validation_folds": 2},
            "prompts": {"language": str(folders["language"]), "vision": str(folders["vision"])}
            | {"per_sample": 1, "adapter": True, "normalise": "none"},  # answers are all alike
            "model": {"hidden": 4, "feature": 16},
            "objective": {"weights": {"skeleton_vision": 1.0, "vision_language": 0.5}},
            "train": {"epochs": 2, "batch_size": 16, "evaluate_every": 2},
        }
    )
    last = fit(experiment, tmp_path / "train", name="t")
    assert {"loss_skeleton_vision", "loss_vision_language", "linear_val"} <= last.keys()


def test_killed_and_resumed_it_loses_nothing(clips: Path, tiny_llava: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of a one-process run; the rest is done by the same command."""
    words = [clips, tmp_path / "run", *options(tiny_llava)]
    command = [sys.executable, "-m", "c2vl", "prompts", "video", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    answers = tmp_path / "run" / "answers"
    deadline = time.monotonic() + 120
    while len(list(answers.glob("*.parquet"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in answers.glob("*.parquet")}
    assert 3 <= len(before) < 13
    call("video", *words)
    after = {path.name: path.stat().st_mtime_ns for path in answers.glob("*.parquet")}
    assert before.items() <= after.items() and len(after) == 13
    resumed = PromptFolder(tmp_path / "run").answered().drop(columns="shard")
    call("video", clips, tmp_path / "straight", *options(tiny_llava))
    straight = PromptFolder(tmp_path / "straight").answered().drop(columns="shard")
    order = ["id", "prompt"]
    pd.testing.assert_frame_equal(
        resumed.sort_values(order).reset_index(drop=True),
        straight.sort_values(order).reset_index(drop=True),
    )


def test_bad_input_is_listed_and_a_rerun_completes(
    clips: Path, make_video: Make, demo_store: Store, tiny_llava: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(clips).head(6)
    table.loc[1, "video"] = "broken.avi"
    table.loc[2, "end"] = 99.0
    table.loc[3, "id"] = "S999C001P001R001A001"
    wrong = clips.with_name("wrong.csv")
    table.to_csv(wrong, index=False)
    (tmp_path / "broken.avi").write_bytes(b"RIFF" + bytes(500))
    run = tmp_path / "run"
    words = ["video", wrong, run, *options(tiny_llava, store=demo_store.path)]
    failed = call(*words, code=2)
    assert "3 sequences are not done" in str(failed.exception)
    listed = pd.read_csv(run / "rejected.csv").set_index("id")["reason"]
    assert "cannot be decoded" in listed[table["id"][1]]
    assert "passes the end" in listed[table["id"][2]]
    assert listed["S999C001P001R001A001"] == "not in the store"
    make_video(tmp_path / "broken.avi", frames=40)
    repaired = pd.read_csv(clips).head(6)
    repaired.loc[1, "video"] = "broken.avi"
    repaired.to_csv(wrong, index=False)
    before = set((run / "answers").iterdir())
    call(*words)
    assert before < set((run / "answers").iterdir())
    assert len(PromptFolder(run).answered()) == 12
    assert pd.read_csv(run / "rejected.csv").empty
    other = call("video", wrong, run, *options(tiny_llava, size=24), code=2)
    assert "was begun with size 16" in str(other.exception)


def test_nobody_in_the_picture(clips: Path, tiny_owl: Path, tmp_path: Path) -> None:
    words = ["--dataset", "list", "--frames", 2, "--persons", tiny_owl, "--threshold", 0.9999]
    failed = call("video", some(clips, 2), tmp_path / "run", *words, code=2)
    assert "no person is found in any of 2 frames" in str(failed.exception)
    assert len(pd.read_csv(tmp_path / "run" / "rejected.csv")) == 2


class Server(ThreadingHTTPServer):
    """An OpenAI-compatible endpoint that misbehaves as told: one entry of ``plan`` a request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[Any] = []
        self.seen: list[dict[str, Any]] = []
        self.under_way = self.most = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.under_way += 1
            self.server.most = max(self.server.most, self.server.under_way)
            self.server.seen.append(body | {"token": self.headers.get("Authorization")})
            what = self.server.plan.pop(0) if self.server.plan else "fine"
        time.sleep(2.0 if what == "slow" else 0.02)
        with self.server.lock:
            self.server.under_way -= 1
        status, text = (what, "") if isinstance(what, int) else (200, "The hand goes up.")
        text = {"empty": "", "refusal": "I'm sorry, I can't.", "long": "It goes. Then it"}.get(
            what, text
        )
        reason = "length" if what == "long" else "stop"
        answer = {"choices": [{"message": {"content": text}, "finish_reason": reason}]}
        data = json.dumps(answer if status == 200 else {"error": {"message": "no"}}).encode()
        if what == "junk":
            data = b"<html>"
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            if status == 429:
                self.send_header("Retry-After", "1")
            self.end_headers()
            self.wfile.write(data)
        except BrokenPipeError:
            pass  # the client did not wait


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def test_an_endpoint_is_asked_again_and_within_bounds(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TOKEN, "secret-token")
    endpoint = Endpoint(server.url, "m", concurrency=3, timeout=1.0, wait=0.01)
    server.plan = [500, 429, "slow", 503, "empty", "long", "refusal"]
    began = time.monotonic()
    found = endpoint.answers([PICTURE] * 8, [f"question {i}" for i in range(8)])
    assert not any(answer.error for answer in found)
    assert sorted(answer.text for answer in found)[:2] == ["", "I'm sorry, I can't."]
    assert sum(not answer.whole for answer in found) == 1
    assert time.monotonic() - began >= 1.0  # what Retry-After asked for
    assert server.most <= 3 and len(server.seen) == 12
    asked = server.seen[0]
    assert asked["token"] == "Bearer secret-token" and asked["temperature"] == 0
    assert asked["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/")
    server.plan = [400, "junk"]
    errors = Endpoint(server.url, "m", concurrency=1, wait=0.01).answers([PICTURE] * 2, ["q"] * 2)
    assert [answer.error for answer in errors] == [
        "HTTP 400: no",
        "the reply is not a chat completion",
    ]
    server.plan = [401]
    refused = Endpoint(server.url, "m", concurrency=1).answers([PICTURE] * 3, ["q"] * 3)
    assert all(TOKEN in answer.error for answer in refused) and not server.plan
    assert "secret-token" not in repr(endpoint) + str(refused) + "".join(capfd.readouterr())
    with pytest.raises(UserError, match="put the token into the environment"):
        Endpoint("http://user:secret-token@host/v1", "m")


def test_an_endpoint_that_is_down_or_says_nothing_loses_nothing(
    clips: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("c2vl.prompts.video.endpoint.random.uniform", lambda *_: 0.01)
    run, few = tmp_path / "run", some(clips, 12)
    url = server.url
    server.shutdown()
    server.server_close()
    words = ["video", few, run, *options(Path("tiny"), endpoint=url, tries=2, concurrency=1)]
    down = call(*words, code=2)
    assert "cannot be reached" in str(down.exception)
    assert len(pd.read_csv(run / "rejected.csv")) == 12
    assert len(PromptFolder(run).cropped()) == 24 and not len(PromptFolder(run).answered())
    crops = {path: path.stat().st_mtime_ns for path in (run / "crops").iterdir()}
    again = Server()
    thread = threading.Thread(target=again.serve_forever, daemon=True)
    thread.start()
    try:
        back = [again.url if word == url else word for word in words]
        again.plan = ["empty", "empty", "refusal", "long"]  # nothing, then half of two
        silent = call(*back, code=2)
        assert "only 0 of 2 answers are usable (2 empty)" in str(silent.exception)
        assert len(pd.read_csv(run / "rejected.csv")) == 1
        assert len(PromptFolder(run).answered()) == 22
        call(*back)
    finally:
        again.shutdown()
        again.server_close()
    assert crops == {path: path.stat().st_mtime_ns for path in (run / "crops").iterdir()}
    answered = PromptFolder(run).answered()
    assert answered["status"].value_counts().to_dict() == {"ok": 22, "refusal": 1, "cut": 1}
    assert answered.groupby("id")["text"].nunique().max() == 1  # the one usable stands for both
    assert len(answered) == 24 and pd.read_csv(run / "rejected.csv").empty


def test_estimate_says_what_is_measured_and_what_assumed(
    clips: Path, tiny_llava: Path, tmp_path: Path
) -> None:
    assert hours(Rates(10, 20), 100, 36, gpus=2, cpus=5)["all"] == pytest.approx(90 / 3600)
    run = tmp_path / "run"
    call("video", some(clips, 3), run, *options(tiny_llava))
    told = call("estimate", run, "--captions-per-second", 20).output
    assert "114480 videos × 16 frames = 1831680 prompts" in told
    assert "captions: 20.0 a second of one unit (assumed)" in told and "(measured)" in told
    assert "8 GPUs and 64 cores: captions 3.2 h" in told
    nothing = call("estimate", tmp_path / "none", code=2)
    assert "measured no crops" in str(nothing.exception)
