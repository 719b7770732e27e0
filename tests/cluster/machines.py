"""Machines that share a kernel and nothing else: own network, file system, processes, host name.

They are namespaces of Linux without a name, tied by a bridge that lies in a namespace too: nothing
of it shows on the host, and the kernel removes it all when the first process ends, however it
ends. Making them needs root.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psutil

NETWORK = "10.77.0"
HUB = f"{NETWORK}.1"  # this process's own address among the machines
APART = "C2VL_TEST_APART"
_PATH = {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}  # ip, pivot_root
_NAMESPACES = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
# an environment without the checkout: the wheel takes the place of the editable installation
_ENVIRONMENT = """
set -e
mount -t tmpfs -o mode=755 environment {at}
mkdir {at}/upper {at}/work {at}/merged
mount -t overlay overlay -o lowerdir={prefix},upperdir={at}/upper,workdir={at}/work {at}/merged
"""
# the system read-only; what is written lies in a tmpfs of this machine
_MACHINE = """
set -e
hostname {name}
ip link set lo up
mount -t tmpfs -o mode=755 machine {root}
cd {root}
mkdir -p proc dev sys tmp etc root old .{prefix} .{base} var/tmp home/{user}
chmod 1777 tmp var/tmp
for name in bin sbin lib lib32 lib64 usr; do
  if [ -L /$name ]; then cp -P /$name $name
  elif [ -d /$name ]; then
    mkdir -p $name; mount --bind /$name $name; mount -o remount,bind,ro $name
  fi
done
cp -a /etc/. etc/
sed -i '1i {user}:x:{uid}:{uid}::/home/{user}:/bin/sh' etc/passwd
printf '127.0.0.1 localhost\\n{hosts}' > etc/hosts
: > etc/resolv.conf
chown {uid}:{uid} home/{user}
mount -t proc proc proc
mount --rbind /sys sys
for name in null zero full random urandom; do
  touch dev/$name; mount --bind /dev/$name dev/$name
done
ln -s /proc/self/fd dev/fd
mkdir dev/shm; mount -t tmpfs -o mode=1777 shm dev/shm
for pair in {environment}:{prefix} {base}:{base}; do
  mkdir -p .${{pair#*:}}; mount --bind ${{pair%:*}} .${{pair#*:}}
done
pivot_root . old
umount -l /old
rmdir /old
echo ready
read -r _
"""
# the steps that a container may refuse
_PROBE = """
ip link add probe type bridge
mount -t tmpfs probe /mnt
cd /mnt
mkdir below upper work merged
mount -t overlay overlay -o lowerdir=below,upperdir=upper,workdir=work merged
command -v pivot_root nsenter > /dev/null
"""


def refusal() -> str:
    """Return why this process can make no machines; empty if it can."""
    if not sys.platform.startswith("linux") or os.geteuid():
        return "network and mount namespaces need Linux and root"
    tried = subprocess.run(
        [*_NAMESPACES, "sh", "-ec", _PROBE],
        env=os.environ | _PATH,
        capture_output=True,
        text=True,
    )
    return (tried.stderr.strip() or "no machine can be made") if tried.returncode else ""


def enter(module: str, *words: str) -> None:
    """Become ``python -m module``, once, in namespaces that end with it."""
    if APART in os.environ:
        return
    command = [*_NAMESPACES, "--mount-proc", sys.executable, "-m", module, *words]
    os.execvpe(command[0], command, os.environ | _PATH | {APART: "1"})


class Lab:
    """The machines' common ground; made in a process that :func:`enter` started.

    Attributes:
        folder: a tmpfs for logs and what is built, which only these processes see.
        names: host name → address; this process is ``lab``.
    """

    folder = Path("/mnt")

    def __init__(self, names: Mapping[str, str]) -> None:
        assert APART in os.environ, "only in namespaces of its own: enter()"
        self.names = {"lab": HUB, **names}
        _run(f"mount -t tmpfs lab {self.folder}")
        _run(f"ip link set lo up; ip link add br0 type bridge; ip addr add {HUB}/24 dev br0")
        _run("ip link set br0 up")
        (self.folder / "environment").mkdir()
        _run(_ENVIRONMENT.format(at=self.folder / "environment", prefix=sys.prefix))

    @property
    def environment(self) -> Path:
        """This process's Python environment, as it will be on every machine."""
        return self.folder / "environment" / "merged"

    def install(self, wheel: Path) -> None:
        """Put a wheel in place of what is installed under its name."""
        # run by the environment's own Python, at the path that it has on the machines
        pip = f"{sys.prefix}/bin/python -m pip install --quiet --no-deps --no-index"
        words = f"--disable-pip-version-check --force-reinstall {shlex.quote(str(wheel))}"
        bind = f"mount --bind {self.environment} {sys.prefix}"
        script = f"{bind}; cd /; env -u PYTHONPATH {pip} {words}"
        subprocess.run(["unshare", "--mount", "sh", "-ec", script], check=True)

    def machine(self, name: str, user: str, uid: int) -> Machine:
        return Machine(self, name, user, uid)


class Machine:
    """One of them, for one user with an empty home.

    Attributes:
        env: what every command there has in its environment.
        log: takes the output of those that :meth:`start` starts.
    """

    def __init__(self, lab: Lab, name: str, user: str, uid: int) -> None:
        self.name, self.address, self.log = name, lab.names[name], lab.folder / f"{name}.log"
        self._uid, self.home = uid, f"/home/{user}"
        self.env = {
            "HOME": self.home,
            "USER": user,
            "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
        }
        root = tempfile.mkdtemp(prefix=f"{name}-", dir=lab.folder)
        script = _MACHINE.format(
            name=name,
            root=root,
            user=user,
            uid=uid,
            prefix=sys.prefix,
            base=sys.base_prefix,
            environment=lab.environment,
            hosts="".join(f"{address} {host}\\n" for host, address in lab.names.items()),
        )
        self._unshare = subprocess.Popen(
            [*_NAMESPACES, "--uts", "--ipc", "bash", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._unshare.stdout is not None
        if self._unshare.stdout.readline() != b"ready\n":
            raise RuntimeError(f"no machine {name}: see above")
        self._init = psutil.Process(self._unshare.pid).children()[0].pid
        _run(
            f"ip link add v{self._init} type veth peer name eth0 netns {self._init}; "
            f"ip link set v{self._init} master br0 up; nsenter -t {self._init} --net sh -ec "
            f"'ip addr add {self.address}/24 dev eth0; ip link set eth0 up'"
        )

    def start(self, *words: str, log: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a command of the machine's user in their home."""
        with (log or self.log).open("ab") as out:
            return subprocess.Popen(
                [
                    "nsenter", "-t", str(self._init), "--all", "--",
                    "setpriv", f"--reuid={self._uid}", f"--regid={self._uid}", "--clear-groups",
                    "--no-new-privs", "sh", "-c", 'cd && exec "$@"', "sh", *words,
                ],
                env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip

    def run(self, *words: str, timeout: float = 300) -> str:
        """Run a command to its end; return its output.

        Raises:
            RuntimeError: its status was not 0; the message has the output.
        """
        with tempfile.NamedTemporaryFile() as file:
            rc = self.start(*words, log=Path(file.name)).wait(timeout)
            output = Path(file.name).read_text(errors="replace")
        if rc:
            raise RuntimeError(f"{self.name}: {shlex.join(words)}: status {rc}\n{output}")
        return output

    def write(self, path: str, content: str, mode: int = 0o644) -> None:
        """Write a file of the user's, below their home."""
        file = Path(f"/proc/{self._init}/root{self.home}") / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        file.chmod(mode)
        for made in (file, *list(file.parents)[: path.count("/")]):
            os.chown(made, self._uid, self._uid)

    def kill(self) -> None:
        """Switch it off: its processes and its network are gone at once, without a word."""
        os.kill(self._init, signal.SIGKILL)
        self._unshare.wait()


def _run(script: str) -> None:
    subprocess.run(["sh", "-ec", script], check=True)
