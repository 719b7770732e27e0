"""Classifier, index and service: right answers, one message for mistakes, and the limits."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schemathesis
import torch
from click.testing import CliRunner
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

from c2vl.commands.main import c2vl
from c2vl.encoder import load_encoder, save_encoder
from c2vl.encoder.concepts import ConceptSpace
from c2vl.serving.app import make_app
from c2vl.serving.classifier import load_head
from c2vl.serving.index import load_index
from c2vl.serving.launch import Settings, check, embed_together, serving
from c2vl.serving.limits import Guard, Rate
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from sweeps.choosing.export import save_pyfunc
from sweeps.tracking.mlflow_store import open_client
from tests.protocols.conftest import random_encoder

TOKEN = "a-long-random-line-of-text"


@pytest.fixture(scope="module")
def parts(demo_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoder, classifier and index, made by the commands."""
    root = tmp_path_factory.mktemp("serving")
    encoder = random_encoder(demo_store)
    torch.manual_seed(0)
    maps = (torch.randn(6, 16), torch.zeros(6)), (torch.eye(6), torch.zeros(6))
    spaces = {"language": ConceptSpace(*maps, "words@1")}
    save_encoder(root / "encoder", encoder.model, encoder.card, spaces)
    done = ask("classify-fit", root / "encoder", demo_store.path, root / "head", *SPLIT)
    assert "13 classes" in done
    done = ask("index", root / "encoder", demo_store.path, root / "index")
    assert "104 sequences, to search by example and by text" in done
    np.save(root / "one.npy", demo_store.joints(7))
    return root


SPLIT = ("--split", "xsub", "--folds", "2")


def ask(*words: object, wrong: bool = False) -> str:
    result = CliRunner().invoke(c2vl, [str(word) for word in words])
    if wrong:
        assert isinstance(result.exception, UserError), (result.output, result.exception)
        return str(result.exception)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_axes_and_units_of_files_and_requests(
    parts: Path, demo_store: Store, tmp_path: Path
) -> None:
    """As `data prepare` does: bodies of no body's size or with heads elsewhere are not believed."""
    joints = demo_store.joints(7)
    right = ask("classify", parts / "encoder", parts / "head", parts / "one.npy")
    asked = {
        "classify": ("classify", parts / "encoder", parts / "head"),
        "search": ("search", parts / "encoder", parts / "index"),
    }
    turned = joints[..., [0, 2, 1]] * np.array([1, -1, 1], np.float32)  # z up
    for name, raw, remedy in (
        ("down", joints * np.array([1, -1, -1], np.float32), ("--up", "-y")),
        ("z", turned, ("--up", "z")),
        ("cm", joints * 100, ("--unit", "cm")),
        ("inch", joints / 0.0254, ("--unit", "inch")),
    ):
        np.save(tmp_path / f"{name}.npy", raw)
        for words in asked.values():
            told = ask(*words, tmp_path / f"{name}.npy", wrong=True)
            assert f"{name}.npy: " in told and "give " + " ".join(remedy) in told
            mended = ask(*words, tmp_path / f"{name}.npy", *remedy)
            if words[0] == "classify":
                assert mended.partition(": ")[2] == right.partition(": ")[2]


def test_files_are_classified(parts: Path, demo_store: Store, demo_raw: Path) -> None:
    out = ask("classify", parts / "encoder", parts / "head", parts / "one.npy", "--top", 13)
    assert out.startswith("one: ") and out.count("%") == 13
    shares = [float(word.rpartition(" ")[2]) for word in out.replace(" %", "").split(",")]
    assert sum(shares) == pytest.approx(100, abs=1) and shares == sorted(shares, reverse=True)
    name = str(demo_store.index["id"].iloc[7])
    raw = demo_raw / f"{name}.skeleton"
    by_reader = ask("classify", parts / "encoder", parts / "head", raw, "--reader", "demo")
    assert by_reader.startswith(f"{name}: {out[5:20]}")
    head, encoder = load_head(parts / "head"), load_encoder(parts / "encoder")
    assert head.probabilities(encoder.embed([demo_store.joints(7)])).sum() == pytest.approx(1)


def test_motions_are_found(parts: Path, demo_store: Store) -> None:
    lines = ask("search", parts / "encoder", parts / "index", parts / "one.npy", "-k", 30)
    near = [line.split()[:2] for line in lines.splitlines()[1:-1]]
    assert len(near) == 30 and lines.splitlines()[-1].endswith("the median of all 104")
    assert ["1.000", str(demo_store.index["id"].iloc[7])] in near  # a random encoder's tie
    index, encoder = load_index(parts / "index"), load_encoder(parts / "encoder")
    rows = encoder.embed([demo_store.joints(at) for at in range(len(demo_store))])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    wanted = np.sort(unit @ unit[7])[::-1][:10]
    found = index.by_features(rows[7:8], 10)[0]
    np.testing.assert_allclose([one.score for one in found], wanted, atol=1e-5)
    ids = list(demo_store.index["id"])
    scores = [float(unit[ids.index(one.id)] @ unit[7]) for one in found]
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    # By text: the sequence whose place in the language space is the text's own comes first.
    placed = encoder.concepts["language"].of_features(rows)
    aim = placed[30] - placed.mean(0)
    assert (
        index.by_text(aim[None].astype(np.float32), 1)[0][0].id == demo_store.index["id"].iloc[30]
    )


def test_mistakes_end_in_one_message(parts: Path, demo_store: Store, tmp_path: Path) -> None:
    encoder, head, index = parts / "encoder", parts / "head", parts / "index"
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "page.npy").write_text("<!doctype html><html>")
    np.save(tmp_path / "small.npy", np.zeros((4, 20, 3)))
    nan = np.ones((4, 25, 3))
    nan[2, 3, 1] = np.nan
    np.save(tmp_path / "nan.npy", nan)
    np.save(tmp_path / "bool.npy", np.ones((4, 25, 3), dtype=bool))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    one = np.load(parts / "one.npy")
    np.save(tmp_path / "mm.npy", 1000 * one)
    whole = (parts / "one.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-8])
    longer = str((1, 10**12, *one.shape[2:])).encode()
    shape = str(one.shape).encode()
    claimed = whole.replace(shape, longer).replace(b" " * (len(longer) - len(shape)), b"", 1)
    (tmp_path / "absurd.npy").write_bytes(claimed)
    for name, message in (
        ("text.npy", "cannot be read as .npy (not a .npy array)"),
        ("objects.npy", "cannot be read as .npy (the array holds |O"),
        ("nothing.npy", "nothing.npy: no such file"),
        ("cut.npy", "cannot be read as .npy ("),
        ("absurd.npy", "cannot be read as .npy ("),
        ("mm.npy", "m across, with joints taken to be in m: give --unit mm"),
        ("page.npy", "cannot be read as .npy (a web page, not the file"),
        ("small.npy", "expected joints of shape (frames, 25, 3)"),
        ("nan.npy", "not finite"),
        ("bool.npy", "joints must be numbers"),
    ):
        said = ask("classify", encoder, head, tmp_path / name, wrong=True)
        assert message in said and name in said
    (tmp_path / "alone").mkdir()
    shutil.copy(parts / "one.npy", tmp_path / "alone")
    given = (tmp_path / "alone" / "one.npy", "--reader", "ntu60")
    assert str(given[0]) in ask("classify", encoder, head, *given, wrong=True)
    assert "give one of FILE and --text" in ask("search", encoder, index, wrong=True)
    assert "--text: is empty" in ask("search", encoder, index, "--text", " ", wrong=True)
    assert "is there already" in ask("index", encoder, demo_store.path, index, wrong=True)
    other = random_encoder(demo_store, seed=9)
    save_encoder(tmp_path / "other", other.model, other.card)
    said = ask("classify", tmp_path / "other", head, parts / "one.npy", wrong=True)
    assert "was fitted on encoder" in said
    assert "was built with encoder" in ask("search", tmp_path / "other", index, "x.npy", wrong=True)
    for file, folder, load in (
        ("head.safetensors", head, load_head),
        ("features.faiss", index, load_index),
        ("rows.parquet", index, load_index),
        ("index.json", index, load_index),
    ):
        copy = tmp_path / f"damaged-{file}"
        shutil.copytree(folder, copy)
        (copy / file).write_bytes((copy / file).read_bytes()[:-7])
        with pytest.raises(UserError, match="altered or cut short"):
            load(copy)  # type: ignore[operator]


def app(parts: Path, **limits: Any) -> Any:
    encoder = load_encoder(parts / "encoder")

    async def embed(clips: Any) -> Any:
        return embed_together(encoder, [clips])[0]

    made = make_app(
        encoder,
        embed,
        head=load_head(parts / "head"),
        index=load_index(parts / "index"),
        max_frames=limits.pop("max_frames", 100),
        token="token" in limits,
    )
    made.add_middleware(Guard, **({"token": None, "max_body": 2**20, "rate": 0} | limits))
    return made


@pytest.fixture(scope="module")
def client(parts: Path) -> Iterator[TestClient]:
    with TestClient(app(parts), raise_server_exceptions=False) as made:
        yield made


def test_the_service_answers_like_the_encoder(
    client: TestClient, parts: Path, demo_store: Store
) -> None:
    real = [np.array(demo_store.joints(at)) for at in (0, 9, 50)]
    body = {"sequences": [joints.tolist() for joints in real]}
    wanted = load_encoder(parts / "encoder").embed(real)
    found = client.post("/v1/embed", json=body).json()["features"]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    zup = [(100 * x[..., [0, 2, 1]] * [1, -1, 1]).tolist() for x in real]
    converted = client.post("/v1/embed", json={"sequences": zup, "up": "z", "unit": "cm"}).json()
    np.testing.assert_allclose(converted["features"], wanted, atol=1e-3)
    unsaid = client.post("/v1/embed", json={"sequences": zup, "unit": "cm"})
    assert unsaid.status_code == 422
    assert 'send "up": "z", or "up": "y" if this is right' in unsaid.json()["detail"]
    down = {"sequences": [(x * [1, -1, -1]).tolist() for x in real]}
    told = client.post("/v1/embed", json=down)
    assert told.status_code == 422 and 'send "up": "-y"' in told.json()["detail"]
    turned = client.post("/v1/embed", json={**down, "up": "-y"}).json()
    np.testing.assert_allclose(turned["features"], wanted, atol=1e-5)
    single = {"sequences": [real[0][0].tolist()], "layout": "ntu25"}
    np.testing.assert_allclose(
        client.post("/v1/embed", json=single).json()["features"], wanted[:1], atol=1e-5
    )
    classes = client.post("/v1/classify", json={**body, "top": 2}).json()["classes"]
    likely = load_head(parts / "head").top(wanted, 2)
    assert [[one["name"] for one in row] for row in classes] == [[n for n, _ in r] for r in likely]
    near = client.post("/v1/neighbours", json={**body, "k": 2}).json()["neighbours"]
    assert [row[0]["score"] for row in near] == pytest.approx([1, 1, 1], abs=1e-5)
    about = client.get("/v1/encoder").json()
    assert about["layout"] == "ntu25" and about["indexed"] == 104 and len(about["classes"]) == 13
    assert client.get("/v1/health").json() == {"status": "ok"}
    assert {"/v1/embed", "/v1/search"} <= set(client.get("/openapi.json").json()["paths"])
    page = client.get("/")  # leads to the page, which takes nothing from elsewhere
    assert page.url.path == "/docs" and "needs\nno network" in page.text
    assert not re.search(r"(src|href)=.?https?:", page.text)


def test_requests_that_are_refused(client: TestClient) -> None:
    frame = [[0.1, 0.2, 0.3]] * 25
    short, three = [*frame[:2], [0.1, 0.2], *frame[3:]], "expected 3 coordinates, found 2"
    for body, status, message in (
        ({"sequences": []}, 422, "at least 1"),
        ({"sequences": [[]]}, 422, "at least 1"),
        ({"sequences": [[frame]] * 65}, 422, "at most 64"),
        ({"sequences": [[frame] * 101]}, 422, "at most 100 are taken"),
        ({"sequences": [[frame[:20]]]}, 422, "expected joints of shape (frames, 25, 3)"),
        ({"sequences": [[frame, frame[:20]]]}, 422, "not every frame has the same joints"),
        ({"sequences": [[[[0, 0, 0]] * 25]]}, 422, "no body in it"),
        ({"sequences": [[frame]], "layout": "kinect20"}, 422, "this encoder expects ntu25"),
        ({"sequences": [[frame]], "other": 1}, 422, '"other: no such field'),
        ({"sequence": [[frame]]}, 422, '"sequence: no such field'),
        ({"sequences": [[frame, short]], "other": 1}, 422, '"other: no such field'),
        ({"sequences": "x"}, 422, '"sequences: Input should be a valid list'),
        ({"sequences": [[frame, short]]}, 422, f'"sequence 0, frame 1, joint 2: {three}'),
        (
            {"sequences": [[frame], [[frame], [frame, short]]]},
            *(422, f'"sequence 1, body 1, frame 1, joint 2: {three}'),
        ),
        ({"sequences": [[frame, [[0, 0, "x"]]]]}, 422, "frame 1, joint 0, coordinate 2: Input"),
        ({"sequences": [[[frame]] * 9]}, 422, '"sequence 0: List should have at most 8 items'),
        (
            {"sequences": [[[[0, 0, 99 * z] for z in range(25)]]], "up": "y"},
            422,
            "like millimetres",
        ),
        ([], 422, "body"),
    ):
        answer = client.post("/v1/embed", json=body)
        assert (answer.status_code, message in answer.text) == (status, True), answer.text
    for text in ("NaN", "Infinity", "1e400", "1" * 400):
        raw = json.dumps({"sequences": [[frame]]}).replace("0.1", text)
        answer = client.post("/v1/embed", content=raw)
        assert answer.status_code == 422 and "detail" in answer.json(), (text, answer.text)
    for raw in (b"{", b"\xff\xfe", b"", b"[" * 100_000):
        assert client.post("/v1/embed", content=raw).status_code in (400, 422)


def test_limits(parts: Path) -> None:
    with TestClient(app(parts, token=TOKEN, max_body=500, rate=5)) as guarded:
        assert guarded.get("/").status_code == 200
        page = guarded.get("/openapi.json").json()  # with a button for the token
        assert page["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
        assert page["paths"]["/v1/embed"]["post"]["security"]
        refused = guarded.get("/v1/health")
        assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
        wrong = {"authorization": f"Bearer {TOKEN}x"}
        assert guarded.get("/v1/health", headers=wrong).status_code == 401
        right = {"authorization": f"Bearer {TOKEN}"}
        assert guarded.get("/v1/health", headers=right).status_code == 200
        assert guarded.post("/v1/embed", content=b"x" * 501, headers=right).status_code == 413

        def stream() -> Iterator[bytes]:  # without a Content-Length it is counted as it comes
            for _ in range(10):
                yield b"x" * 100

        assert guarded.post("/v1/embed", content=stream(), headers=right).status_code == 413
        answers = [guarded.get("/v1/health", headers=right).status_code for _ in range(12)]
        assert answers[0] == 200 and answers[-1] == 429
    now = [0.0]
    rate = Rate(2, clock=lambda: now[0])
    assert [rate.allow("a") for _ in range(6)] == [True] * 4 + [False] * 2
    assert rate.allow("b")
    now[0] = 0.5
    assert [rate.allow("a") for _ in range(2)] == [True, False]


def test_requests_of_different_size_share_a_pass(parts: Path, demo_store: Store) -> None:
    """What the batches over requests give is what each request would have got alone."""
    encoder = load_encoder(parts / "encoder")
    draw = np.random.default_rng(0)
    requests = []
    for count, bodies in ((1, 1), (3, 2), (2, 1)):
        x = draw.normal(size=(count, bodies, 16, 25, 3)).astype(np.float32)
        requests.append((x, np.ones((count, bodies), dtype=bool)))
    together = embed_together(encoder, requests)
    for request, rows in zip(requests, together, strict=True):
        np.testing.assert_allclose(rows, embed_together(encoder, [request])[0], atol=1e-5)


def test_settings_that_are_unsafe_or_wrong(parts: Path, tmp_path: Path) -> None:
    place = str(parts / "encoder")
    with pytest.raises(UserError, match="a token is needed"):
        check(Settings(place, host="0.0.0.0"))
    token = tmp_path / "token"
    for text in ("short", "", "two words of a token"):
        token.write_text(text)
        with pytest.raises(UserError, match="16 or more ASCII"):
            check(Settings(place, token_file=token))
    token.write_text(TOKEN + "\n")
    check(Settings(place, host="0.0.0.0", token_file=token))
    with pytest.raises(UserError, match="cannot be read"):
        check(Settings(place, token_file=tmp_path / "none"))
    for wrong in ({"replicas": 0}, {"rate": -1.0}, {"max_body": 0}):
        with pytest.raises(UserError, match="--"):
            check(Settings(place, **wrong))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no such file"):
        check(Settings(str(tmp_path / "nothing")))


def test_what_is_not_there_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"head\.json: no such file; a classifier .* classify-fit"):
        load_head(tmp_path)
    with pytest.raises(UserError, match=r"index\.json: no such file; an index .*`c2vl index`"):
        load_index(tmp_path)


def test_schemathesis_finds_no_server_error(parts: Path) -> None:
    """Every operation of the OpenAPI page, with generated bodies, right and wrong."""
    made = app(parts)
    schema = schemathesis.openapi.from_asgi("/openapi.json", made)
    seen: set[str] = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        seen.add(operation.path)
        if operation.path == "/v1/search":
            continue  # its text encoder is a name here; the live run has it

        @hypothesis_settings(
            max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), database=None
        )
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            answer = case.call()
            assert answer.status_code < 500, answer.text

        check()
    routes = ("health", "encoder", "embed", "classify", "neighbours", "search")
    assert seen == {f"/v1/{route}" for route in routes}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.mlflow
def test_the_service_under_ray_serve(
    parts: Path,
    demo_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The real thing: a registered encoder, a token, and schemathesis without a 5xx."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    client = open_client(uri)
    save_pyfunc(parts / "encoder", tmp_path / "model")
    client.create_registered_model("served")
    client.create_model_version("served", str(tmp_path / "model"))
    client.set_registered_model_alias("served", "best", "1")
    token = tmp_path / "token"
    token.write_text(TOKEN)
    settings = Settings(
        "models:/served@best",
        head=parts / "head",
        port=8077,
        token_file=token,
        rate=0,
    )
    with serving(settings) as address:
        joints = np.array(demo_store.joints(3))
        body = json.dumps({"sequences": [joints.tolist()]}).encode()
        headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
        request = urllib.request.Request(f"{address}/v1/embed", body, headers)
        deadline = time.monotonic() + 60
        while True:
            try:
                found = json.load(urllib.request.urlopen(request, timeout=30))["features"]
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < deadline
                time.sleep(1)
        wanted = load_encoder(parts / "encoder").embed([joints])
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{address}/v1/health", timeout=30)
        schema = [f"{address}/openapi.json", "-H", f"Authorization: Bearer {TOKEN}"]
        tried = ["-n", "20", "--checks", "not_a_server_error"]
        command = [Path(sys.executable).with_name("schemathesis"), "run", *schema, *tried]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-3000:]
    assert "graceful_shutdown" not in "".join(capfd.readouterr())  # of Ray, which kills Serve
