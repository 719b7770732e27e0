"""Kills processes of sweeps at random, resumes, and checks what must hold whatever was killed.

    python -m tests.faults.campaign --sweeps 30 --seed 0

A sweep's driver, a trial's process, another worker of its group or a node is killed up to three
times, at any moment between the command and its last line; then ``c2vl-sweep resume`` runs to the
end. Half of the sweeps run on a local cluster of three node processes, the others on a Ray of their
own; half of the trials train on a group of two workers. The seed fixes what is planned; the moment
that a kill meets is the machine's. The same command goes on with the sweeps that are left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, chdir
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table

from c2vl.config_files import load, override
from c2vl.errors import UserError
from c2vl.training.checkpoint import read_metrics
from cluster import auth, local, processes
from cluster.state import STATE_FILE, ClusterState
from cluster.state import load as load_state
from tests.faults.processes import digest, role, session, undisturbed
from tests.small import small_language, small_store, small_sweep
from tests.sweeps.command import start
from tests.sweeps.stores import epochs, runs, trials

NAME, TRIALS, POINTS, EPOCHS = "small", 3, 2, 5
LIMIT = 600.0  # seconds that a start may take before it counts as hanging
GRACE = 90.0  # seconds to leave in; Ray's agents wait 60 for the control store of a killed Ray
START, END = 12.0, 12.0  # seconds that the first and the last part of a sweep are shot at
ENDS = {
    TrialState.COMPLETE: ("FINISHED", "complete"),
    TrialState.PRUNED: ("KILLED", "pruned"),
    TrialState.FAIL: ("FAILED", "failed"),
}


@dataclass(frozen=True)
class Plan:
    """What is to happen to one sweep.

    Attributes:
        number: of the sweep in its campaign.
        workers: of each training.
        nodes: of the cluster it runs on; 0: a Ray of its own.
        kills: how far the sweep is to be by then (see :meth:`Sweep.wait`), and a draw that picks
            the victim.
    """

    number: int
    workers: int
    nodes: int
    kills: tuple[tuple[float, float], ...]


@dataclass
class Result:
    """What happened to it, and what did not hold."""

    plan: Plan
    killed: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    compared: str = ""
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


def planned(seed: int, number: int, nodes: int) -> Plan:
    """Draw a sweep's plan; the same seed and number draw the same."""
    draw = random.Random(f"{seed}/{number}")
    kills = tuple(sorted((draw.random(), draw.random()) for _ in range(draw.randint(1, 3))))
    return Plan(number, draw.choice((1, 2)), nodes if draw.random() < 0.5 else 0, kills)


class Ground:
    """Data, and the local cluster, that the sweeps of a campaign share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.store = small_store(folder / "store")
        shutil.rmtree(folder / "language", ignore_errors=True)
        self.language = small_language(folder / "language", self.store)
        self._weights: dict[str, str] = {}

    def sweep(self, plan: Plan, folder: Path) -> Path:
        """Write the sweep file of a plan."""
        values = small_sweep(self.store.path, self.language)
        train = {"epochs": EPOCHS, "workers": plan.workers, "cpus_per_worker": 1 / plan.workers}
        values["base"] = override(
            values["base"], {f"train.{key}": value for key, value in train.items()}
        )
        values |= {"trials": TRIALS, "points": values["points"][:POINTS], "concurrency": None}
        values["final"] = {"protocols": ["knn"]}
        path = folder / "small.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    def cluster(self, nodes: int) -> ClusterState:
        """Start the cluster, or what is missing of it."""
        path = self.folder / STATE_FILE
        with chdir(self.folder):
            state = load_state(path)
            if state is not None and not processes.alive(state.nodes[0]):
                local.down(path, grace=1)
                state = None
            tries = 3  # another Ray of this machine may take the port that a node has just drawn
            while state is None:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", 0))
                    port = probe.getsockname()[1]
                try:
                    state, _ = local.up(path, nodes=nodes, dashboard_port=port)
                except UserError:
                    tries -= 1
                    if not tries:
                        raise
            while len([node for node in state.nodes if processes.alive(node)]) < nodes:
                state = local.add(path)
        return state

    def state(self) -> ClusterState:
        """The cluster as it was last seen whole."""
        state = load_state(self.folder / STATE_FILE)
        assert state is not None
        return state

    def close(self) -> None:
        """End the cluster."""
        local.down(self.folder / STATE_FILE)

    def weights(self, run: Path, out: Path) -> str:
        """Digest of the weights that a run's experiment has when nothing disturbs it."""
        settings = load(run / "experiment.yaml").model_dump(mode="json", exclude={"name"})
        key = json.dumps(settings, sort_keys=True)
        if key not in self._weights:
            self._weights[key] = undisturbed(run, out)
        return self._weights[key]


class Sweep:
    """One sweep under fire."""

    def __init__(self, plan: Plan, ground: Ground) -> None:
        self.plan, self.ground = plan, ground
        self.result = Result(plan)
        self.folder = ground.folder / f"sweep-{plan.number:02d}"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.file = ground.sweep(plan, self.folder)
        self.leaders: list[int] = []
        self.log = (self.folder / "output.log").open("a", encoding="utf-8")

    def start(self) -> subprocess.Popen[str]:
        """Start the driver: anew where nothing is there to resume."""
        words: list[object] = ["run", self.file]
        if (self.folder / "runs/sweeps" / NAME / "sweep.yaml").exists():
            words = ["resume", NAME]
        environment = {}
        if self.plan.nodes:
            state = self.ground.cluster(self.plan.nodes)
            environment = {"RAY_AUTH_MODE": "token"}
            words += ["--address", state.gcs]
        self.log.write(f"\n--- {' '.join(map(str, words))}\n")
        self.log.flush()
        process = start(*words, cwd=self.folder, output=self.log, **environment)
        self.leaders.append(process.pid)
        return process

    def victims(self, driver: subprocess.Popen[str]) -> dict[str, list[psutil.Process]]:
        """What can be killed now, by role."""
        found: dict[str, list[psutil.Process]] = {"driver": [psutil.Process(driver.pid)]}
        members = session([driver.pid])
        if self.plan.nodes:
            state = self.ground.state()
            members += processes.members(state)
            for node in state.nodes[1:]:
                if processes.alive(node):
                    found.setdefault("node", []).append(psutil.Process(node.pid))
        for process in members:
            name = role(process)
            if name and not (name == "node" and self.plan.nodes):
                found.setdefault(name, []).append(process)
        return found

    def shoot(self, driver: subprocess.Popen[str], draw: float) -> None:
        """Kill one part of it."""
        dice = random.Random(draw)
        victims = self.victims(driver)
        name = dice.choice(sorted(victims))
        victim = dice.choice(sorted(victims[name], key=lambda process: process.pid))
        targets = [victim]
        if name == "node" and self.plan.nodes:  # as if its plug were pulled
            targets += victim.children(recursive=True)
        for process in targets:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        self.result.killed.append(name)
        self.log.write(f"\n--- killed: {name}\n")
        self.log.flush()

    def wait(self, driver: subprocess.Popen[str], share: float) -> bool:
        """Wait until a share of the sweep is behind it; False if it ended before.

        The first fifth are seconds after the start, the last fifth seconds after the last trial;
        between them the epochs that trials have done count.
        """
        began = time.monotonic()
        folder = self.folder / "runs/sweeps" / NAME
        ended = 0.0
        while driver.poll() is None and (now := time.monotonic()) < began + LIMIT:
            rows = sum(len(read_metrics(path)) for path in folder.glob("trials/*/metrics.jsonl"))
            if not ended and (folder / "final.json").exists():
                ended = now
            if share < 0.2:
                due = now - began > share / 0.2 * START
            elif share < 0.8:
                due = bool(ended) or rows > (share - 0.2) / 0.6 * (TRIALS - 1) * EPOCHS
            else:
                due = bool(ended) and now - ended > (share - 0.8) / 0.2 * END
            if due:
                return True
            time.sleep(0.05)
        return False

    def run(self) -> Result:
        """Kill, resume to the end, and check."""
        began = time.monotonic()
        kills = list(self.plan.kills)
        for _ in range(len(kills) + 2):
            driver = self.start()
            disturbed = False
            while kills and self.wait(driver, kills[0][0]):
                self.shoot(driver, kills.pop(0)[1])
                disturbed = True
                time.sleep(1.0)
            try:
                driver.wait(LIMIT)
            except subprocess.TimeoutExpired:
                self.result.violations.append("a start hangs")
                driver.kill()
                break
            self.result.starts.append(driver.returncode)
            if not disturbed:
                kills.clear()
                if driver.returncode:
                    self.result.violations.append(f"resume ends with {driver.returncode}")
            if driver.returncode == 0:
                break
        self.result.seconds = time.monotonic() - began
        self.check()
        self.log.close()
        return self.result

    def check(self) -> None:
        """Collect what does not hold."""
        bad = self.result.violations
        bad += self.orphans()  # first, so that nothing is left whatever comes
        if "Traceback" in (self.folder / "output.log").read_text(encoding="utf-8"):
            bad.append("a driver ends with a traceback")
        storage = self.folder / "runs"
        try:
            tried, logged, parents = trials(storage), runs(storage, "trial"), runs(storage, "sweep")
        except Exception as error:
            bad.append(f"the stores cannot be read: {error!r}")
            return
        self.result.outcomes = dict(Counter(trial.state.name for trial in tried))
        if [trial.number for trial in tried] != list(range(TRIALS)):
            bad.append(f"trials {[trial.number for trial in tried]} instead of {TRIALS}")
        if sorted(logged) != [f"{NAME}-{number:04d}" for number in range(TRIALS)]:
            bad.append(f"runs {sorted(logged)} for {TRIALS} trials")
        if [run.info.status for run in parents.values()] != ["FINISHED"]:
            bad.append(f"parent runs {[run.info.status for run in parents.values()]}")
        for trial in tried:
            name = f"{NAME}-{trial.number:04d}"
            if (run := logged.get(name)) is None:
                continue
            said = (run.info.status, run.data.tags.get("outcome"))
            if ENDS.get(trial.state) != said:
                bad.append(f"{name}: Optuna has {trial.state.name}, MLflow {said}")
            steps = epochs(storage, run)
            if steps != list(range(1, len(steps) + 1)):
                bad.append(f"{name}: steps {steps}")
            rows = read_metrics(storage / "sweeps" / NAME / "trials" / name / "metrics.jsonl")
            if [row["epoch"] for row in rows] != steps:
                bad.append(f"{name}: {len(rows)} epochs in its folder, steps {steps} in MLflow")
            if trial.state == TrialState.COMPLETE and len(steps) != EPOCHS:
                bad.append(f"{name}: complete after {len(steps)} epochs")
        self.compare(logged, storage / "sweeps" / NAME / "trials")

    def compare(self, logged: dict[str, Any], folder: Path) -> None:
        """Train the most disturbed trial once more, in one go; prefer one that is known already."""
        complete = [n for n, run in logged.items() if run.data.tags.get("outcome") == "complete"]
        if self.plan.workers > 1:  # each needs a Ray of its own: those of the fixed points alone
            complete = [n for n in complete if int(n[-4:]) < POINTS]
        if not complete:
            return
        name = max(complete, key=lambda n: int(logged[n].data.tags["attempts"]))
        self.result.compared = f"{name}, attempt {logged[name].data.tags['attempts']}"
        if digest(folder / name) != self.ground.weights(folder / name, self.folder / "again"):
            self.result.violations.append(f"{name}: other weights than an undisturbed training's")

    def orphans(self) -> list[str]:
        """Processes that outlive the sweep; they are ended here."""
        deadline = time.monotonic() + GRACE
        while left := self.left():
            if time.monotonic() > deadline:
                names = [" ".join(process.cmdline()[:1])[:60] for process in left]
                for process in left:
                    process.kill()
                return [f"outlive the sweep: {names}"]
            time.sleep(0.5)
        return []

    def left(self) -> list[psutil.Process]:
        """Processes of the sweep that are there now."""
        found = session(self.leaders)
        if self.plan.nodes:
            found += [p for p in processes.members(self.ground.state()) if role(p)]
            found = [process for process in found if role(process) != "node"]
        return found


def campaign(folder: Path, sweeps: int, seed: int, nodes: int, minutes: float) -> list[Result]:
    """Run a campaign, or the rest of it; return what happened.

    Args:
        folder: holds everything; what an earlier start of the same campaign found there stands.
        sweeps: how many.
        seed: of the plans.
        nodes: of the cluster that half of them use; 0: none do.
        minutes: no sweep starts after so long.
    """
    if nodes:  # before a training for comparison loads Ray, which asks once whether to use a token
        auth.ensure_token()
        auth.enable()
    deadline = time.monotonic() + 60 * minutes
    ground, results = Ground(folder), read(folder / "results.json", seed, nodes)
    with ExitStack() as stack:
        stack.callback(ground.close)
        for number in range(len(results), sweeps):
            if time.monotonic() > deadline:
                break
            result = Sweep(planned(seed, number, nodes), ground).run()
            results.append(result)
            state = "; ".join(result.violations) or "all holds"
            print(
                f"sweep {number}: killed {', '.join(result.killed) or 'nothing'}; exit codes "
                f"{result.starts}; {result.seconds:.0f} s; {state}",
                flush=True,
            )
            write(folder / "results.json", seed, results)
    return results


def write(path: Path, seed: int, results: list[Result]) -> None:
    """Write results as JSON."""
    rows = [asdict(result) for result in results]
    path.write_text(json.dumps({"seed": seed, "sweeps": rows}, indent=1) + "\n", encoding="utf-8")


def read(path: Path, seed: int, nodes: int) -> list[Result]:
    """Read what an earlier start of the same campaign has written."""
    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))
    plans = [planned(seed, number, nodes) for number in range(len(found["sweeps"]))]
    told = [json.loads(json.dumps(asdict(plan))) for plan in plans]
    if found["seed"] != seed or [row["plan"] for row in found["sweeps"]] != told:
        raise SystemExit(f"{path}: of another campaign; remove it, or name another folder: --out")
    return [
        Result(**{**row, "plan": plan}) for row, plan in zip(found["sweeps"], plans, strict=True)
    ]


def table(results: list[Result]) -> Table:
    """Results for reading."""
    shown = Table("sweep", "workers", "on", "killed", "exit codes", "trials", "compared", "s", "")
    for result in results:
        plan = result.plan
        shown.add_row(
            str(plan.number),
            str(plan.workers),
            f"{plan.nodes} nodes" if plan.nodes else "own Ray",
            ", ".join(result.killed) or "-",
            " ".join(map(str, result.starts)),
            ", ".join(f"{count} {name.lower()}" for name, count in result.outcomes.items()),
            result.compared or "-",
            f"{result.seconds:.0f}",
            "; ".join(result.violations) or "holds",
        )
    return shown


def main() -> int:
    """Run it; 0 if everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign")
    parser.add_argument("--sweeps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nodes", type=int, default=3, help="of the cluster; 0: no cluster")
    parser.add_argument("--minutes", type=float, default=600.0, help="no sweep starts after these")
    parser.add_argument("--out", type=Path, default=Path("runs/campaign"))
    words = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    out = words.out.absolute()
    results = campaign(out, words.sweeps, words.seed, words.nodes, words.minutes)
    Console(width=200).print(table(results))
    held = sum(not result.violations for result in results)
    print(f"{held} of {len(results)} sweeps: all holds; {out / 'results.json'}")
    return 0 if held == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
