"""What is taken away: the same numbers anywhere, and one message for whatever is wrong with it."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from c2vl.commands.encoder import export
from c2vl.encoder import load_encoder, save_encoder
from c2vl.encoder.ledger import count_scoring, scorings
from c2vl.support.errors import UserError
from c2vl.support.remote import RemoteFolder
from tests.encoder.small import sequences, small

OLD = Path(__file__).parent / "artefacts"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    encoder = small()
    save_encoder(tmp_path / "encoder", encoder.model, encoder.card, encoder.concepts)
    return tmp_path / "encoder"


def test_what_is_loaded_is_what_was_saved(folder: Path) -> None:
    saved, loaded = small(), load_encoder(folder)
    assert np.array_equal(saved.embed(sequences()), loaded.embed(sequences()))
    assert saved.digest == loaded.digest != small("bone").digest
    rows = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    for space in (saved.concepts["language"], loaded.concepts["language"]):
        assert space.encoder == "words@1"
        np.testing.assert_allclose(np.linalg.norm(space.of_concepts(rows), axis=1), 1, atol=1e-6)
    card = json.loads((folder / "encoder.json").read_text())
    assert (card["version"], card["feature_size"], card["licence"]) == (2, 8, "test data")
    text = (folder / "README.md").read_text()
    assert "licence of the data: test data" in text and "Joints in order: spine_base" in text
    # a second save of what was loaded gives the same bytes
    save_encoder(folder.with_name("again"), loaded.model, loaded.card, loaded.concepts)
    for path in folder.iterdir():
        assert (folder.with_name("again") / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("version", [path.name for path in OLD.iterdir() if path.is_dir()])
def test_older_artefacts_still_load(version: str) -> None:
    """Each folder was written by the release of that version; its numbers are kept beside it."""
    encoder = load_encoder(OLD / version)
    kept = np.load(OLD / f"{version}.npy")
    np.testing.assert_allclose(encoder.embed(sequences()), kept, atol=1e-5)
    assert f'"version": {version[1:]}' in (OLD / version / "encoder.json").read_text()


def _bytes(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return apply


def _card(**changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        card = json.loads((folder / "encoder.json").read_text())
        for key, value in changes.items():
            card[key] = {**card[key], **value} if isinstance(value, dict) else value
        (folder / "encoder.json").write_text(json.dumps(card))

    return apply


class Trap:
    """Unpickling it would leave a file."""

    def __reduce__(self) -> Any:
        return (open, ("unpickled", "w"))


def _pickle(folder: Path) -> None:
    data = pickle.dumps(Trap())
    (folder / "encoder.safetensors").write_bytes(data)
    _card(weights_sha256=hashlib.sha256(data).hexdigest())(folder)


def _other_weights(folder: Path) -> None:
    """Weights that fit their digest, and not the card."""
    path = folder / "encoder.safetensors"
    weights = load_file(path)
    essentials = json.dumps(
        {
            key: json.loads((folder / "encoder.json").read_text())[key]
            for key in ("layout", "architecture", "preprocessing", "stream")
        },
        sort_keys=True,
    )
    weights.pop(sorted(weights)[0])
    save_file(weights, path, metadata={"essentials": essentials})
    _card(weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())(folder)


WEIGHTS, CARD = "encoder.safetensors", "encoder.json"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_bytes(WEIGHTS, lambda data: data[:-40]), "altered or cut short"),
        (_bytes(WEIGHTS, lambda data: data[:-1] + bytes([data[-1] ^ 1])), "altered or cut short"),
        (_bytes(WEIGHTS, lambda data: b""), "altered or cut short"),
        (_pickle, "no safetensors file"),
        (_other_weights, "the card and the weights disagree"),
        (_card(stream="bone"), "changed by hand"),
        (_card(preprocessing={"frames": 17}), "changed by hand"),
        (_card(architecture={"hidden": 8}), "changed by hand"),
        (_card(version=1, architecture={"hidden": 8}), "the card and the weights disagree"),
        (_card(version=1, architecture={"hidden": 10**9}), "hidden is above 256"),
        (_card(version=1, layout={"joints": ["a", "a"]}), "joint"),
        (_card(version=99), "version 99 is unknown here"),
        (_card(format="other"), "not the card of an encoder"),
        (_card(concepts={"language": {}, "vision": {"encoder": "x"}}), "disagree"),
        (_bytes(CARD, lambda data: data[:50]), r"altered or cut short .*; put it back, or make it"),
        (_bytes(CARD, lambda data: b"\xff\xfe"), "altered or cut short"),
        (_bytes(CARD, lambda data: b"[]"), "not the card"),
        (_bytes("concepts.safetensors", lambda data: data[:-4]), "altered or cut short"),
        (lambda folder: (folder / WEIGHTS).unlink(), "no such file"),
        (lambda folder: (folder / CARD).unlink(), "no such file"),
        (lambda folder: shutil.rmtree(folder), "no such file"),
    ],
)
def test_damage_ends_in_one_message(
    damage: Callable[[Path], None],
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    damage(folder)
    with pytest.raises(UserError, match=message) as caught:
        load_encoder(folder)
    assert str(folder) in str(caught.value) or "concepts" in str(caught.value)
    assert message != "no such file" or "altered" not in str(caught.value)
    assert not (tmp_path / "unpickled").exists()


def test_joints_that_cannot_be_embedded() -> None:
    encoder, good = small(), sequences()[1]
    nan, far = good.copy(), good.copy()
    nan[0, 0, 0], far[0, 0, 0] = np.nan, 1e30
    words: Any = np.full((4, 25, 3), "x")
    ragged: Any = [[[0.0] * 3] * 25, [[0.0] * 3] * 24]
    for bad, message in (
        (nan, "not finite"),
        (far, "not finite, or beyond"),
        (np.zeros((0, 25, 3)), "found .1, 0, 25, 3."),
        (np.zeros((4, 20, 3)), r"expected joints of shape \(frames, 25, 3\).*ntu25.*20"),
        (np.zeros((4, 25, 2)), "expected joints"),
        (np.zeros((4, 25, 3)), "no body in it"),
        (words, "must be numbers"),
        (ragged, "must be numbers"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            encoder.embed([good, bad])
        assert "sequence 1" in str(caught.value)
    with pytest.raises(UserError, match="kinect20 layout, this encoder expects ntu25"):
        encoder.embed([good], layout="kinect20")
    assert encoder.embed([]).shape == (0, 8)


def test_one_frame_is_held_and_a_million_are_resampled() -> None:
    encoder = small()
    one = sequences()[0]
    held = encoder.embed([one, np.repeat(one, 30, axis=0)])
    np.testing.assert_allclose(held[0], held[1], atol=1e-5)
    long = np.repeat(sequences()[1].astype(np.float32), 150_000, axis=0)  # 1,050,000 frames
    assert np.isfinite(encoder.embed([long])).all()


def test_batches_change_nothing() -> None:
    encoder = small("motion")
    both = np.stack([sequences()[2], sequences()[2] + 1])
    many = [*sequences(), both, both[:, :9]] * 3
    singles = np.concatenate([encoder.embed([joints]) for joints in many])
    for size in (1, 4, 100):
        np.testing.assert_allclose(encoder.embed(many, batch_size=size), singles, atol=1e-5)


BARE = """
import importlib.abc, importlib.machinery, json, re, sys, time
from importlib import metadata

def closure(names):
    found, left = set(), list(names)
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in found: continue
        found.add(name)
        for need in metadata.requires(name) or []:
            if "extra ==" in need: continue
            part = re.match(r"[A-Za-z0-9._-]+", need).group()
            try: metadata.version(part)
            except metadata.PackageNotFoundError: continue
            left.append(part)
    return found

allowed = closure(["torch", "numpy", "safetensors"])
tops = {top for top, owners in metadata.packages_distributions().items()
        if {re.sub(r"[-_.]+", "-", o).lower() for o in owners} & allowed} | {"c2vl"}
refused = set()

class Bare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in tops or top in sys.stdlib_module_names or top.startswith("_"): return None
        refused.add(top)
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Bare())
import numpy as np, torch
began = time.perf_counter()
import c2vl
encoder = c2vl.load_encoder(sys.argv[1])
seconds = time.perf_counter() - began
features = encoder.embed([np.load(path) for path in sys.argv[2:]])
ours = sorted(n for n in sys.modules if n.partition(".")[0] == "c2vl")
print(json.dumps({"features": features.tolist(), "seconds": seconds, "modules": ours,
                  "tops": sorted({n.partition(".")[0] for n in sys.modules} & refused)}))
"""


def test_it_loads_where_nothing_else_is_installed(folder: Path, tmp_path: Path) -> None:
    """Every package but torch, numpy, safetensors and what they need is refused on import."""
    paths = []
    for number, joints in enumerate(sequences()):
        paths.append(str(tmp_path / f"{number}.npy"))
        np.save(paths[-1], joints)
    done = subprocess.run(
        [sys.executable, "-c", BARE, str(folder), *paths], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(
        found["features"], load_encoder(folder).embed(sequences()), atol=1e-6
    )
    assert found["tops"] == []
    assert not [name for name in found["modules"] if "training" in name or "protocols" in name]
    assert found["seconds"] < 1.5  # measured beside torch by the benchmark; this is a bound


@pytest.mark.slow
def test_it_loads_in_a_bare_environment(folder: Path, tmp_path: Path) -> None:
    """The real thing: a fresh environment with the three packages and this one."""
    root = Path(__file__).resolve().parents[2]
    lock = [
        line
        for line in (root / "requirements.lock").read_text().splitlines()
        if line.partition("==")[0] in ("torch", "numpy", "safetensors")
    ]
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "bare"], check=True)
    python = tmp_path / "bare" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *lock], check=True)
    subprocess.run([*pip, "--no-deps", str(root)], check=True)
    np.save(tmp_path / "x.npy", sequences()[2])
    program = (
        "import sys, json, numpy, c2vl;"
        "e = c2vl.load_encoder(sys.argv[1]);"
        "print(json.dumps(e.embed([numpy.load(sys.argv[2])]).tolist()))"
    )
    done = subprocess.run(
        [python, "-c", program, str(folder), str(tmp_path / "x.npy")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    wanted = load_encoder(folder).embed([sequences()[2]])
    np.testing.assert_allclose(json.loads(done.stdout), wanted, atol=1e-5)


def test_export_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    def run(*words: object) -> Any:
        return CliRunner().invoke(export, [str(word) for word in words])

    digest = small().digest
    read = ("knn", "data", "xsub")
    assert count_scoring(folder, digest, *read, run="a") == 1
    assert count_scoring(folder, "another's", *read, run="b") == 1
    out = tmp_path / "out"
    assert run(folder, out).exit_code == 0
    assert scorings(out, digest) == scorings(out) == 1  # the count goes where the encoder goes
    assert "--overwrite" in str(run(folder, out).exception)
    count_scoring(out, digest, *read, run="c")
    count_scoring(folder, digest, *read, run="d")
    for _ in range(2):  # neither place's readings are lost, and none is counted twice
        assert run(folder, out, "--overwrite").exit_code == 0
        assert scorings(out, digest) == 3
    assert run(out, out, "--overwrite").exit_code == 0 and scorings(out, digest) == 3
    encoder = small()
    save_encoder(folder, encoder.model, encoder.card)  # trained anew: its count is there still
    assert (scorings(folder), scorings(folder, digest)) == (3, 2)
    save_encoder(folder, encoder.model, encoder.card, encoder.concepts)
    assert "language" in load_encoder(out).concepts
    assert "neither an encoder nor a finished run" in str(run(tmp_path, tmp_path / "x").exception)
    assert "is for --format hub" in str(run(folder, tmp_path / "y", "--push", "a/b").exception)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_encoder_at_a_url(folder: Path, bucket: str, tmp_path: Path) -> None:
    url = f"{bucket}/encoders/small"
    words = [str(folder), url]
    count_scoring(folder, small().digest, "linear", "data", "xsub", run="a")
    for options, status in (([], 0), ([], 1), (["--overwrite"], 0)):
        done = CliRunner().invoke(export, [*words, *options])
        assert done.exit_code == status, done.output
        assert status == 0 or f"{url}: is there already" in str(done.exception)
    assert np.array_equal(load_encoder(url).embed(sequences()), small().embed(sequences()))
    back = tmp_path / "back"
    assert CliRunner().invoke(export, [url, str(back)]).exit_code == 0
    assert scorings(back) == 1  # the count goes with the encoder
    with pytest.raises(UserError, match=rf"{bucket}/none: nothing lies here; `c2vl export"):
        load_encoder(f"{bucket}/none")
    run = RemoteFolder(f"{bucket}/run")  # a run's is found, as in a folder
    run.write("experiment.yaml", b"name: run")
    with pytest.raises(UserError, match=rf"{bucket}/run: this run has no encoder yet"):
        load_encoder(f"{bucket}/run")
    assert CliRunner().invoke(export, [url, f"{bucket}/run/encoder"]).exit_code == 0
    assert load_encoder(f"{bucket}/run").digest == load_encoder(url).digest
    there = RemoteFolder(url)
    there.write("encoder.safetensors", there.read("encoder.safetensors")[:-1])
    with pytest.raises(UserError, match=rf"^{url}/encoder.safetensors: altered or cut short"):
        load_encoder(url)


def test_a_run_is_taken_for_its_encoder(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "experiment.yaml").write_text("name: run\n")
    with pytest.raises(UserError, match="this run has no encoder yet"):
        load_encoder(run)
    shutil.copytree(folder, run / "encoder")
    assert load_encoder(run).digest == load_encoder(folder).digest
