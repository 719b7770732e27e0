"""Stores and tables at URLs, against an S3 server that is slow, killed, refuses, or is altered."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from c2vl.commands.data import data
from c2vl.commands.prompts import prompts
from c2vl.commands.protocol_options import setting_options
from c2vl.config.reading import dump, from_dict, load, resolved
from c2vl.prompts.table import KIND as TABLE
from c2vl.prompts.table import ConceptTable
from c2vl.registry import find
from c2vl.skeletons.cache import Cache
from c2vl.skeletons.clips import load_clips
from c2vl.skeletons.staging import send
from c2vl.skeletons.store import KIND, Store
from c2vl.support import remote
from c2vl.support.errors import UserError
from c2vl.support.remote import RemoteFolder, parse_location
from c2vl.training.batches import TrainingSet
from tests.object_storage import Proxy, free_port

SLOW = 400_000.0  # bytes a second: the small store then takes some seconds
ASIDE = """
import sys
from c2vl.commands.main import main
from c2vl.support import remote
remote._PART = 50_000
sys.argv = ["c2vl", *sys.argv[1:]]
main()
"""


def aside(*words: object) -> subprocess.Popen[str]:
    """Run a command in a process of its own, with small requests."""
    command = [sys.executable, "-c", ASIDE, *map(str, words)]
    return subprocess.Popen(command, stdout=-1, stderr=subprocess.STDOUT, text=True)


def ended(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def soon(what: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def bytes_of(proxy: Proxy, name: str) -> list[int]:
    """Where the requests for parts of a file begin."""
    ranges = [span for kind, path, span in proxy.requests if kind == "GET" and path.endswith(name)]
    return sorted(int(found[1]) for span in ranges if (found := re.match(r"bytes=(\d+)-", span)))


@pytest.fixture
def url(bucket: str, demo_store: Store) -> str:
    """The small store at a URL."""
    send(demo_store.path, RemoteFolder(f"{bucket}/ntu/demo"), KIND.owned)
    return f"{bucket}/ntu/demo"


def test_made_at_a_url_and_read_by_one_small_request(
    bucket: str, proxy: Proxy, tmp_path: Path
) -> None:
    url = f"{bucket}/ntu/demo"
    few = ["--subjects", "2", "--cameras", "1", "--replications", "1"]
    made = CliRunner().invoke(data, ["demo", url, *few])
    assert made.exit_code == 0 and f"{url}: " in made.output, made.output
    names = {name.rpartition("/")[2] for name in RemoteFolder(url).files()}
    assert names >= {"manifest.json", "joints.npy", "index.parquet"} and "upload.json" not in names
    proxy.requests.clear()
    store = Store.open(url)  # made here: only the manifest comes back
    assert [path.rpartition("/")[2] for kind, path, _ in proxy.requests if kind == "GET"] == [
        "manifest.json"
    ]
    assert store.location == url and isinstance(store._rows, np.memmap)
    load_clips(store, frames=16)
    listed = CliRunner().invoke(data, ["cache"]).output
    assert f"url={url}" in listed and "clips " in listed
    again = CliRunner().invoke(data, ["demo", url, *few])
    assert "nothing to do" in again.output
    other = CliRunner().invoke(data, ["demo", url, "--seed", "5", *few])
    assert isinstance(other.exception, UserError)
    assert str(other.exception).startswith(f"{url}: holds another store")
    assert "all as they were prepared" in CliRunner().invoke(data, ["verify", url]).output


def test_a_copy_that_is_killed_continues_and_two_processes_make_one(
    url: str, proxy: Proxy, demo_store: Store, tmp_path: Path
) -> None:
    proxy.rate = SLOW
    cut = aside("data", "verify", url)
    part = f"part-*/{demo_store.data.name}/joints.npy"
    soon(lambda: sum(path.stat().st_size for path in (tmp_path / "cache").glob(part)) > 300_000)
    cut.kill()
    cut.communicate()
    (left,) = (tmp_path / "cache").glob(part)
    kept = left.stat().st_size
    assert 0 < kept < (demo_store.data / "joints.npy").stat().st_size
    proxy.rate, proxy.requests = 0, []
    proxy.sick(503, 3.0)
    for process in [aside("data", "verify", url) for _ in range(2)]:
        assert "all as they were prepared" in ended(process)
    starts = bytes_of(proxy, "joints.npy")
    assert starts[0] == kept and len(starts) == len(set(starts))
    assert [entry.kind for entry in Cache.of_node().entries()] == ["store"]


def test_what_is_altered_is_noticed(url: str, demo_store: Store, tmp_path: Path) -> None:
    first, there = Store.open(url), RemoteFolder(url)
    joints = f"{demo_store.data.name}/joints.npy"
    manifest = there.read("manifest.json")
    there.write("manifest.json", manifest + b"\n")  # as when another store is put there
    second = Store.open(url)
    assert second.path != first.path and second.digest == first.digest
    content = bytearray(there.read(joints))
    content[-5] ^= 1
    there.write(joints, bytes(content))
    there.write("manifest.json", manifest + b"\n\n")
    with pytest.raises(UserError, match=rf"{url}: what came is not what its manifest says.*1 of"):
        Store.open(url)
    there.write("manifest.json", b"[]")
    with pytest.raises(UserError, match=r"no manifest of a store"):
        Store.open(url)


def test_copies_stay_within_the_limit_unless_a_process_uses_them(
    url: str, bucket: str, demo_store: Store
) -> None:
    cache = Cache.of_node()
    used = Store.open(url)
    send(demo_store.path, RemoteFolder(f"{bucket}/other"), KIND.owned)
    ended(aside("data", "verify", f"{bucket}/other"))
    assert [entry.path == used.path for entry in cache.prune(0)] == [False]
    assert used.path.is_dir()
    cache.release(used.path)
    assert [entry.path for entry in cache.prune(0)] == [used.path]


def test_an_upload_that_is_killed_continues_and_nobody_sees_half_a_store(
    bucket: str, proxy: Proxy, demo_raw: Path, demo_store: Store
) -> None:
    url = f"{bucket}/sent"
    there = RemoteFolder(url)
    words = ("data", "prepare", "demo", demo_raw, url)
    proxy.rate = SLOW
    cut = aside(*words)
    soon(lambda: any(path.endswith("joints.npy") for _, path, _ in proxy.requests))
    proxy.cut()
    cut.kill()
    cut.communicate()
    with pytest.raises(UserError, match=r"sent: no prepared store here"):
        Store.open(url)
    proxy.rate, proxy.requests = 0, []
    assert "nothing to do" in ended(aside(*words))  # made already; what lacks is sent
    sent = {path.partition("?")[0] for kind, path, _ in proxy.requests if kind in ("PUT", "POST")}
    assert any(name.endswith("index.parquet") for name in there.files())
    assert not any(path.endswith("index.parquet") for path in sent)
    assert any(path.endswith("joints.npy") for path in sent)
    assert Store.open(url).digest == demo_store.digest
    assert "upload.json" not in there.files()


def test_a_table_is_replaced_whole(
    bucket: str, proxy: Proxy, demo_store: Store, tmp_path: Path
) -> None:
    url = f"{bucket}/demo/language"
    names = tmp_path / "ids.txt"
    names.write_text("\n".join(demo_store.index["id"]))
    draw = np.random.default_rng(0)
    digests = []
    for options in ((), ("--overwrite",)):
        np.save(tmp_path / "rows.npy", draw.normal(size=(len(demo_store), 2, 8)))
        words = ["features", tmp_path / "rows.npy", names, url, "--modality", "language"]
        made = CliRunner().invoke(prompts, [*map(str, words), "--model", "test", *options])
        assert made.exit_code == 0, made.output
        digests.append(ConceptTable.open(url).digest)
    assert len(set(digests)) == 2
    kinds = [(kind, path.rpartition("/")[2]) for kind, path, _ in proxy.requests]
    gone = kinds.index(("DELETE", "manifest.json"))  # before the other content, of equal sizes
    features = [at for at, (kind, name) in enumerate(kinds) if "features.npy" in name]
    assert any(at > gone for at in features)
    shutil.rmtree(tmp_path / "cache")
    ids = list(demo_store.index["id"])
    expected = np.load(tmp_path / "rows.npy").astype(np.float16)
    assert (ConceptTable.open(url, modality="language").join(ids) == expected).all()
    with pytest.raises(UserError, match=rf"{url}: holds language concepts"):
        ConceptTable.open(url, modality="vision")
    again = CliRunner().invoke(prompts, [*map(str, words), "--model", "test"])
    assert isinstance(again.exception, UserError) and url in str(again.exception)


def test_training_reads_store_and_table_at_urls(
    url: str, language: Path, tmp_path: Path, sweep_values: dict[str, Any]
) -> None:
    table = f"{url}/language"  # below its store, as on a disk
    send(language, RemoteFolder(table), TABLE.owned)
    values = sweep_values["base"]
    there = from_dict(
        values
        | {"data": values["data"] | {"store": url}}
        | {"prompts": values["prompts"] | {"language": table}}
    )
    (tmp_path / "e.yaml").write_text(dump(resolved(there)))
    again = load(tmp_path / "e.yaml")
    assert (again.data.store, again.prompts.language) == (url, table)
    found, expected = TrainingSet(again), TrainingSet(from_dict(values))
    rows = torch.arange(4)
    assert torch.equal(found.clips(rows), expected.clips(rows))
    means = [one.concepts["language"].means(rows) for one in (found, expected)]
    assert torch.equal(*means)


def test_what_cannot_be_written_is_told_before_the_work(
    bucket: str, url: str, demo_raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = CliRunner().invoke(data, ["prepare", "demo", str(demo_raw), "s3://no-such-bucket/a"])
    assert isinstance(done.exception, UserError)
    assert "s3://no-such-bucket/a: cannot be written" in str(done.exception)
    assert not (tmp_path / "cache").exists()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("C2VL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"Not a directory.* by C2VL_CACHE"):
        Store.open(url)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{bucket}/nothing", "no prepared store here"),
        ("s3://no-such-bucket/a", "no prepared store here"),
        ("s3://", "names no folder"),
        ("s3://lab/a b", "Cannot parse URI"),
        ("s3://lab/a?colour=red", "Unexpected query parameter"),
        ("unknown://lab/a", "unknown://lab/a: Protocol not known"),
        ("az://lab/a", "az://lab/a: Install adlfs"),
        ("memory://lab/a", "no prepared store here"),  # by fsspec
        ("s3://me:pass@lab/a", "s3…: holds a secret"),
        ("s3://lab/a?secret_key=pass", r"s3://lab/a…: holds a secret"),
    ],
)
def test_a_mistake_is_one_message(bucket: str, given: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Store.open(given.format(bucket=bucket))
    assert "pass" not in str(caught.value)


def test_a_server_that_refuses_or_is_gone(
    proxy: Proxy, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.sick(403, 60)
    with pytest.raises(UserError, match=rf"{url}: access is refused .*AWS_SESSION_TOKEN") as one:
        Store.open(url)
    monkeypatch.setattr(remote, "PATIENCE", 1.0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UserError, match=rf"{url}: no answer for .*AWS_ENDPOINT_URL") as two:
        Store.open(url)
    said = f"{one.value} {two.value} {caplog.text}"
    assert not any(secret in said for secret in ("planted-access-key", "planted-secret"))


def test_locations() -> None:
    (concepts,) = [
        option
        for option in setting_options([find("protocol", "zero-shot")])
        if option.name == "concepts"
    ]
    assert concepts.type.convert("s3://lab/a", None, None) == "s3://lab/a"
    assert parse_location("s3://lab/a/?region=x") == "s3://lab/a?region=x"
    assert parse_location("file:///a%20b/c") == Path("/a b/c")
    assert parse_location("runs/a") == Path("runs/a")
    assert parse_location("~/a") == Path.home() / "a", "no shell expands data.store=~/a"
    assert parse_location("a~/b") == Path("a~/b")
    assert os.sep in str(remote.absolute(Path("runs/a")))
