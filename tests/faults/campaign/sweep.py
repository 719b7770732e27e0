"""One sweep under fire: started, killed in part, resumed to its end."""

from __future__ import annotations

import random
import shutil
import subprocess
import time

import psutil

from c2vl.training.run_folder import RunFolder
from cluster import processes
from tests.faults.campaign.checks import check
from tests.faults.campaign.ground import EPOCHS, NAME, TRIALS, Ground
from tests.faults.campaign.results import Plan, Result
from tests.faults.processes import role, session
from tests.sweeps.command import start

LIMIT = 600.0  # seconds that a start may take before it counts as hanging
GRACE = 90.0  # seconds to leave in; Ray's agents wait 60 for the control store of a killed Ray
START, END = 12.0, 12.0  # seconds that the first and the last part of a sweep are shot at


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
            rows = sum(len(RunFolder(path).rows()) for path in folder.glob("trials/*"))
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
        self.log.close()
        self.result.violations += self.orphans()  # first, so that nothing is left whatever comes
        check(self.result, self.folder, self.ground)
        return self.result

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
