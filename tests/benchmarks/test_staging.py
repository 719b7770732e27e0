"""A store from an S3 server into the cache, beside a plain copy: ``make bench ARGS=-kstaging``.

The server is moto, a process of Python on this machine that reads an object whole for each range of
it: it is what limits the rate, so a download of the same objects by boto3, the usual client, stands
beside it.
"""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from c2vl.skeletons.staging import send
from c2vl.skeletons.store import KIND, Store
from c2vl.support.remote import RemoteFolder
from tests.object_storage import Server
from tests.scale.make import make_store

SEQUENCES, ROUNDS = 12_000, 3
TARGET = 0.7
"""Of the rate of a plain download, without the comparison of every sequence's checksum."""


def measured(call: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of a call in this process."""

    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    began, before = time.perf_counter(), cpu()
    call()
    return time.perf_counter() - began, cpu() - before


@pytest.mark.slow
def test_staging_a_store(tmp_path: Path, bucket: str, s3_server: Server) -> None:
    store = make_store(tmp_path / "store", SEQUENCES)
    url = f"{bucket}/ntu"
    sending = measured(lambda: send(store.path, RemoteFolder(url), KIND.owned))
    files = [path for path in store.path.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    client = boto3.client("s3")

    def copy() -> None:
        shutil.copytree(store.path, tmp_path / "copy")

    def download() -> None:
        for path in files:
            name = f"ntu/{path.relative_to(store.path)}"
            client.download_file(bucket.removeprefix("s3://"), name, str(tmp_path / path.name))

    def stage() -> None:
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        Store.open(url)

    times: dict[str, list[tuple[float, float]]] = {"copy": [], "download": [], "stage": []}
    for _ in range(ROUNDS):
        for name, call in (("copy", copy), ("download", download), ("stage", stage)):
            shutil.rmtree(tmp_path / "copy", ignore_errors=True)
            os.sync()
            times[name].append(measured(call))
    again = measured(lambda: Store.open(url))
    verify = measured(store.verify)
    best = {name: min(values) for name, values in times.items()}
    print(f"\n{size:.0f} MB, {len(store)} sequences; load {os.getloadavg()[0]:.1f}")
    for name, (wall, cpu) in best.items():
        rate = f"{size / wall:.0f} MB/s, {best['copy'][0] / wall:.2f} of a plain copy's rate"
        print(f"{name:9} {wall:6.2f} s wall, {cpu:5.2f} CPU s: {rate}")
    print(f"verify    {verify[0]:6.2f} s wall, {verify[1]:5.2f} CPU s, which staging contains")
    rate = f"{size / sending[0]:.0f} MB/s"
    print(f"send      {sending[0]:6.2f} s wall, {sending[1]:5.2f} CPU s: {rate}")
    print(f"opened again {again[0]:.3f} s, {again[1]:.3f} CPU s")
    assert best["download"][0] / (best["stage"][0] - verify[0]) >= TARGET
