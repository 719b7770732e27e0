"""Data that tests share: real captures where they are at hand, a small generated store always."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from uuid import uuid4

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tests share few cores
# PostgreSQL's package makes a user where root runs it, by a program that a bare PATH lacks
os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

import pytest
import yaml

from c2vl import registry
from c2vl.skeletons.store import Store
from tests.object_storage import Proxy, Server, environment, served
from tests.small import small_language, small_store, small_sweep
from tests.sweeps.command import start

_SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def _data(variable: str, folder: str) -> Path:
    path = Path(os.environ.get(variable, _SHARED / folder))
    if not path.is_dir():
        pytest.skip(f"{path} is not there; set {variable} to the folder of the data")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that makes ``finished``, for which others wait, then those with Ray.

    They are the long ones; processes of pytest that run out of files end with short ones.
    """
    long = {item.path for item in items if item.get_closest_marker("ray")}
    items.sort(key=lambda item: (item.path not in long, item.path.name != "test_sweep.py"))


@pytest.fixture
def own_parts_go() -> Iterator[None]:
    """Forget the parts that a test registers."""
    for kind in registry.KINDS:
        registry.names(kind)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_parts", dict(registry._parts))
        yield


@pytest.fixture(scope="session")
def utd() -> Path:
    """The folder of UTD-MHAD (real Kinect captures)."""
    return _data("C2VL_UTD_MHAD", "utd_mhad")


@pytest.fixture(scope="session")
def ntu_lists() -> Path:
    """The folder with the sample names of NTU RGB+D."""
    return _data("C2VL_NTU_LISTS", "ntu_lists")


@pytest.fixture(scope="session")
def demo_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated ``.skeleton`` files of ``demo_store``."""
    return tmp_path_factory.mktemp("demo") / "raw"


@pytest.fixture(scope="session")
def demo_store(tmp_path_factory: pytest.TempPathFactory, demo_raw: Path) -> Store:
    """A small generated store: every class by 4 subjects, once under each of 2 cameras (104)."""
    return small_store(tmp_path_factory.mktemp("stores") / "demo", demo_raw)


@pytest.fixture(scope="session")
def utd_store(tmp_path_factory: pytest.TempPathFactory, utd: Path) -> Store:
    """The prepared store of UTD-MHAD."""
    from c2vl.skeletons.preparing.prepare import prepare

    return prepare("utd-mhad", utd, tmp_path_factory.mktemp("stores") / "utd").store


@pytest.fixture(scope="session")
def language(demo_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A concept table of random projections of the clips: it says something, without a label."""
    return small_language(tmp_path_factory.mktemp("concepts") / "language", demo_store)


@pytest.fixture(scope="session")
def sweep_values(demo_store: Store, language: Path) -> dict[str, Any]:
    """A sweep whose second trial learns nothing, so that it is pruned: nested mappings.

    It does not score its winner on the test part: seconds, and few tests look at that.
    """
    return {**small_sweep(demo_store.path, language), "final": {"test": False}}


@pytest.fixture(scope="session")
def sweep_file(sweep_values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file."""
    path = tmp_path_factory.mktemp("sweep") / "small.yaml"
    path.write_text(yaml.safe_dump(sweep_values), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def c2vl_sweep() -> Callable[..., CompletedProcess[str]]:
    """Run ``c2vl-sweep`` to its end."""

    def run(*words: object, cwd: Path, code: int = 0) -> CompletedProcess[str]:
        process = start(*words, cwd=cwd)
        try:
            out, _ = process.communicate(timeout=400)
        finally:
            if process.poll() is None:  # it hangs: it must not hold the machine after the test
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == code, out
        assert code == 0 or "Traceback" not in out, out
        return CompletedProcess(process.args, process.returncode, out, "")

    return run


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    """An S3 server, a process of its own."""
    with served() as server:
        yield server


@pytest.fixture
def bucket(s3_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket; what comes from it is cached in ``tmp_path / "cache"``."""
    for name, value in environment(s3_server.port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("C2VL_CACHE", str(tmp_path / "cache"))
    name = f"lab-{uuid4().hex[:8]}"
    s3_server.call("PUT", f"/{name}")
    return f"s3://{name}"


@pytest.fixture
def proxy(s3_server: Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """What stands between the bucket and everybody in this test."""
    between = Proxy(s3_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", environment(between.port)["AWS_ENDPOINT_URL"])
    yield between
    between.stop()
