"""SLURM itself on this machine: munged, slurmctld and several slurmd, each a node of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATH = f"{os.environ['PATH']}:/usr/sbin"  # where Debian has the daemons
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue")
CONFIG = """
ClusterName=test
SlurmctldHost=localhost
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmctldPort={port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=5
GresTypes=gpu
KillWait=5
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def absent() -> list[str]:
    """Return the programs that are not installed (Debian: ``slurm-wlm``, ``munge``)."""
    return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


@contextmanager
def slurm(folder: Path, *, nodes: int, cpus: int) -> Iterator[dict[str, str]]:
    """Run a SLURM of ``nodes`` nodes with ``cpus`` CPUs and one (pretended) GPU each.

    Yields:
        The environment in which its commands find it.
    """
    ports = _free_ports(nodes + 1)
    lines = [
        f"NodeName=n{index} NodeHostname=localhost Port={port} CPUs={cpus} Gres=gpu:1 State=UNKNOWN"
        for index, port in enumerate(ports[1:])
    ]
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(folder=folder, port=ports[0], nodes="\n".join(lines)))
    # files stand in for the devices: SLURM counts and assigns them, nothing opens them
    gres = []
    for index in range(nodes):
        (folder / f"gpu{index}").touch()
        gres.append(f"NodeName=n{index} Name=gpu File={folder}/gpu{index}")
    (folder / "gres.conf").write_text("\n".join(gres) + "\n")
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    env = os.environ | {"SLURM_CONF": str(config), "PATH": PATH}
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> None:
        with (folder / f"{Path(words[0]).name}.out").open("ab") as out:
            started.append(
                subprocess.Popen(words, env=env, stdout=out, stderr=out, start_new_session=True)
            )

    try:
        start(
            "munged", "--foreground", "--force", f"--key-file={key}",
            f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid",
            f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed",
        )  # fmt: skip
        _wait(lambda: (folder / "munge.socket").exists(), "munged's socket")
        start("slurmctld", "-D", "-c", "-f", str(config))
        for index in range(nodes):
            (folder / f"spool-n{index}").mkdir()
            start("slurmd", "-D", "-N", f"n{index}", "-f", str(config))

        def ready() -> bool:
            states = subprocess.run(
                ["sinfo", "-h", "-N", "-o", "%t"], env=env, capture_output=True, text=True
            ).stdout.split()
            return states == ["idle"] * nodes

        _wait(ready, f"{nodes} idle nodes")
        yield env
    finally:
        subprocess.run(["scancel", "--user=root"], env=env, capture_output=True)
        time.sleep(3)
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
        for process in reversed(started):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(condition: object, what: str, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"SLURM: no {what} within {timeout:.0f} s"
        time.sleep(0.3)


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
