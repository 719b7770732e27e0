"""What the machine refuses is told in one line, and requests to it take no way round."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from typing import NoReturn

import click
import pytest
import requests

from c2vl.support.command_line import LazyGroup, reach_this_machine, run


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_the_machine_refuses_is_one_message(
    number: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["c2vl", "work"])
    group = click.Group()

    @group.command()
    def work() -> NoReturn:
        raise OSError(number, os.strerror(number), "store/lock")

    with pytest.raises(SystemExit) as end:
        run(group, "c2vl")
    assert end.value.code == 2
    assert capsys.readouterr().err == f"c2vl: store/lock: {os.strerror(number)}\n"


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_requests_to_this_machine_go_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(one, "")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv(name, "lab.example")
    reach_this_machine()
    for host, proxied in (("127.0.0.1:5000", False), ("localhost", False), ("lab.example", False),
                          ("elsewhere.example", True)):  # fmt: skip
        found = requests.utils.get_environ_proxies(f"http://{host}/")
        assert ("http" in found) == proxied, host


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_streams_that_are_closed_at_start_end_nothing(closed: str) -> None:
    command = f"{shlex.quote(sys.executable)} -m c2vl data layouts coco17 {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0
    assert not done.stderr


@click.command()
def endless() -> NoReturn:
    raise KeyboardInterrupt


def test_a_stop_by_the_keyboard_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["c2vl", "endless"])
    group = LazyGroup(lazy={"endless": (f"{__name__}:endless", "")})
    with pytest.raises(SystemExit) as end:
        run(group, "c2vl")
    assert end.value.code == 130
    assert "c2vl: stopped; nothing half-written is left" in capsys.readouterr().err
