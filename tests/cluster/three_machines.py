"""From a laptop to a cluster of three machines: ``make cluster-test``, as root, on Linux.

Laptop, head and two nodes are namespaces of this machine (``machines.py``): each has its own
network, file system, home, user and processes, c2vl as a wheel, and no checkout. A fifth place, the
lab, serves PostgreSQL, a bucket (moto) and MLflow with users and TLS. While the sweep runs a node
is switched off, MLflow is away for 40 s, and the bucket answers 503 for 20 s.

``python -m tests.cluster.three_machines data`` ends before the cluster is made.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import machines
from tests.cluster.services import USER, Database, MLflowServer, certificate
from tests.object_storage import Proxy, Server, environment
from tests.small import small_sweep

ROOT = Path(__file__).parents[2]
NAMES = {
    name: f"{machines.NETWORK}.{number}"
    for number, name in enumerate(("laptop", "head", "node1", "node2"), 2)
}
BUCKET, MLFLOW, POSTGRES = 9000, 5000, 5432
TRIALS, EPOCHS, FEATURE = 8, 25, 16
SECRETS = {name: secrets.token_hex(32) for name in ("user", "database", "ray", "bucket")}
URI, JOBS = f"https://lab:{MLFLOW}", "http://head:8265"
STORAGE = "s3://lab/runs"
BEGAN = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - BEGAN:5.0f} s  {text}", flush=True)


def until(condition: Callable[[], Any], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {seconds:.0f} s")
        time.sleep(1)


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a copy, since a build leaves files where it runs."""
    source = folder / "source"
    for name in ("c2vl", "sweeps", "cluster", "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for pattern in ("*.toml", "setup.py", "MANIFEST.in", "*.md", "LICENSE", "*.lock"):
        for file in ROOT.glob(pattern):
            shutil.copy(file, source)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    tag = {"SETUPTOOLS_SCM_PRETEND_VERSION": version("c2vl")}  # the copy has none of its own
    subprocess.run([*pip, "-w", folder, source], env=os.environ | tag, check=True)
    return next(folder.glob("*.whl"))


def ray(machine: machines.Machine, *words: str) -> None:
    machine.start(
        "python", "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats",
        "--num-cpus=1", f"--node-ip-address={machine.address}", f"--node-name={machine.name}",
        "--object-store-memory=100000000", *words,
    )  # fmt: skip


def said(machine: machines.Machine, *words: str) -> str:
    """Return a command's output; empty while it fails."""
    try:
        return machine.run(*words)
    except RuntimeError:
        return ""


def sweep() -> dict[str, Any]:
    made = small_sweep(Path("-"), Path("-"))
    made["base"]["data"]["store"] = "s3://lab/demo"
    made["base"]["prompts"]["language"] = "s3://lab/language"
    made["base"]["train"]["epochs"] = EPOCHS
    made["base"]["model"]["feature"] = FEATURE
    made["space"]["optim.lr"] |= {"low": 1e-4, "high": 1e-2}
    return made | {
        "trials": TRIALS, "concurrency": 3, "pruner": {"name": "none"}, "points": [],
        "storage": STORAGE, "study": f"postgresql+psycopg://{USER}@lab/optuna",
        "tracking": {"uri": URI, "experiment": "lab"}, "final": {"protocols": ["knn"]},
    }  # fmt: skip


class Lab:
    """The machines with c2vl installed, and the bucket, which data was put into."""

    def __init__(self) -> None:
        ground = machines.Lab(NAMES)
        self.folder = Path(tempfile.mkdtemp(dir=ground.folder))
        self.folder.chmod(0o755)
        ground.install(build_wheel(self.folder))
        say("the wheel is built and installed")
        bucket = Server()
        bucket.call("PUT", "/lab")
        self.gate = Proxy(bucket, machines.HUB, BUCKET)
        self.pem, self._key = certificate(self.folder, "lab")
        self.keys = {"AWS_SECRET_ACCESS_KEY": SECRETS["bucket"]}
        self.laptop = ground.machine("laptop", "anna", 4001)
        self.nodes = [ground.machine(name, "ray", 4000) for name in ("head", "node1", "node2")]
        for machine in (self.laptop, *self.nodes):
            machine.env |= environment(BUCKET, "lab") | self.keys | {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": SECRETS["ray"],
                "MLFLOW_TRACKING_URI": URI,
                "MLFLOW_TRACKING_USERNAME": "anna",
                "MLFLOW_TRACKING_PASSWORD": SECRETS["user"],
                "MLFLOW_TRACKING_SERVER_CERT_PATH": f"{machine.home}/lab.pem",
                "PGPASSWORD": SECRETS["database"],
            }  # fmt: skip
            machine.write("lab.pem", self.pem.read_text())

    def put_data(self) -> None:
        assert self.laptop.run("ls") == "lab.pem\n"
        demo = ["--seed=1", "--subjects=4", "--cameras=2", "--replications=1"]
        self.laptop.run("c2vl", "data", "demo", "s3://lab/demo", *demo)
        say("the laptop has put a data set into the bucket")

    def serve(self) -> None:
        """Start PostgreSQL and MLflow, and make MLflow's user."""
        network = f"{machines.NETWORK}.0/24"
        place = (machines.HUB, POSTGRES, network, SECRETS["database"])
        self.database = Database(self.folder, *place, "mlflow", "optuna")
        words = [
            "--store", f"postgresql+psycopg://{USER}@{machines.HUB}/mlflow",
            "--artifacts", "s3://lab/mlflow", "--host", machines.HUB, "--port", MLFLOW,
            "--allow", f"lab:{MLFLOW}", "--certificate", self.pem, "--key", self._key,
        ]  # fmt: skip
        env = environment(BUCKET, machines.HUB) | self.keys | {"PGPASSWORD": SECRETS["database"]}
        self.mlflow = MLflowServer(self.folder / "mlflow.log", words, env)

    def add_user(self) -> None:
        ask = ["curl", "-sf", "--cacert", "lab.pem"]
        until(lambda: said(self.laptop, *ask, f"{URI}/health"), "MLflow", 120)
        facts = json.dumps({"username": "anna", "password": SECRETS["user"]})
        self.laptop.run(
            *ask, "-u", "admin:admin-of-the-lab", f"{URI}/api/2.0/mlflow/users/create",
            "-H", "Content-Type: application/json", "-d", facts,
        )  # fmt: skip

    def count(self, table: str) -> int:
        rows = self.database.ask("optuna", f"select count(*) from {table}")
        return sum(row[0] for row in rows)

    def disturb(self, job: subprocess.Popen[bytes]) -> None:
        """Take away a node, MLflow and the bucket, one after another, while trials run."""

        def reach(what: str, table: str, number: int, seconds: float) -> None:
            def reached() -> bool:
                return self.count(table) >= number or job.poll() is not None

            until(reached, f"{number} {what}", seconds)
            if job.poll() is not None:
                raise RuntimeError(f"the job ended early, with status {job.returncode}")
            say(f"{number} {what} have ended")

        complete = "trials where state = 'COMPLETE'"
        reach("epochs", "trial_intermediate_values", EPOCHS, 420)
        self.nodes[2].kill()
        say("node2 is switched off")
        reach("trials", complete, 3, 420)
        self.mlflow.kill()
        say("MLflow is away")
        time.sleep(40)
        self.mlflow.start()
        say("MLflow is started again")
        reach("trials", complete, 5, 300)
        self.gate.sick(503, 20)
        say("the bucket answers 503 for 20 s")

    def use(self) -> None:
        """Serve the registered winner on the laptop, and ask it."""
        service = "http://127.0.0.1:8000/v1"
        self.laptop.start("c2vl", "serve", "models:/small@best")
        until(lambda: "feature_size" in said(self.laptop, "curl", "-s", f"{service}/encoder"),
              "c2vl serve", 180)  # fmt: skip
        still = {"sequences": [[[[0.1, 0.2, 0.3]] * 25] * 20]}
        answer = self.laptop.run(
            "curl", "-sf", f"{service}/embed", "-H", "Content-Type: application/json",
            "-d", json.dumps(still),
        )  # fmt: skip
        assert len(json.loads(answer)["features"][0]) == FEATURE, answer


def whole() -> None:
    """Go the whole way."""
    lab = Lab()
    laptop, head = lab.laptop, lab.nodes[0]
    lab.serve()
    ray(head, "--head", "--dashboard-host=0.0.0.0")
    lab.put_data()
    words = ("s3://lab/demo", "s3://lab/language", "--windows=3")
    laptop.run("c2vl", "prompts", "kinematic", *words)
    say("the laptop has put captions into the bucket")
    lab.add_user()
    listing = ("c2vl-cluster", "status", "--address", JOBS)
    until(lambda: said(laptop, *listing).count("alive") == 1, "the head", 120)
    for node in lab.nodes[1:]:
        ray(node, f"--address={head.address}:6379")
    until(lambda: said(laptop, *listing).count("alive") == 3, "three nodes", 180)
    say("three nodes are up, MLflow has a user")
    looked = laptop.run("c2vl-cluster", "preflight", "--address", JOBS, "--root", STORAGE)
    assert "3 nodes are ready" in looked, looked

    laptop.write("sweep.yaml", yaml.safe_dump(sweep()))
    job = laptop.start("c2vl-cluster", "submit", "sweep.yaml", "--address", JOBS)
    lab.disturb(job)
    if job.wait(600):
        raise RuntimeError(f"the job ended with status {job.returncode}")
    say("the job has ended")
    states = lab.database.ask("optuna", "select state, count(*) from trials group by state")
    assert states == [("COMPLETE", TRIALS)], states
    assert "continues from its checkpoint" in laptop.log.read_text(), "no trial was on the node"
    print(laptop.run("c2vl-sweep", "reconcile", "small", "--check", "--storage", STORAGE))
    lab.use()
    say(f"{TRIALS} of {TRIALS} trials; the laptop serves the winner")


def data_only() -> None:
    """Let a machine put data into the bucket, and another read it."""
    lab = Lab()
    lab.put_data()
    print(lab.nodes[0].run("c2vl", "data", "describe", "s3://lab/demo"))


if __name__ == "__main__":
    if machines.APART not in os.environ and (why := machines.refusal()):
        sys.exit(f"cluster-test: not run: {why}")
    machines.enter("tests.cluster.three_machines", *sys.argv[1:])
    try:
        data_only() if sys.argv[1:] == ["data"] else whole()
    except BaseException:
        for log in sorted(machines.Lab.folder.rglob("*.log")):
            print(f"--- {log}\n{log.read_text(errors='replace')[-5000:]}")
        raise
