"""Several nodes: what is refused before the first trial, how trials are packed, nodes that join."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from c2vl.config.experiment import Experiment
from c2vl.support.errors import UserError
from c2vl.support.ray_session import default_temp_dir
from sweeps import driver
from sweeps.planning.cluster_resources import Concurrency, trial_resources
from sweeps.planning.ray_internals import (
    ASKS_DASHBOARD,
    ENVIRONMENT,
    started_rays,
)
from sweeps.running import trial
from sweeps.running.engine import run_trainings
from sweeps.running.stopping import Stop
from sweeps.spec.reading import parse_sweep
from sweeps.spec.training import End, ListedTrainings, Listener, Row, Training
from tests.faults.processes import wait_until
from tests.small import from_dict

pytestmark = [pytest.mark.ray, pytest.mark.faults]

HERE = "/proc/self/cwd"  # one path, and another folder for each process
REPOSITORY = Path(__file__).parents[2]


class Nodes:
    """Two nodes with 1 CPU each, which know nothing of each other's folder; one has a GPU."""

    def __init__(self, elsewhere: Path) -> None:
        from ray.cluster_utils import Cluster

        self._elsewhere = elsewhere
        self._cluster = Cluster(
            initialize_head=True,
            connect=True,
            head_node_args={"num_cpus": 1, "include_dashboard": False},
        )
        # as `ray start` writes it: a sweep of another test would take it for the host's Ray
        told = Path(default_temp_dir(), "ray_current_cluster")
        self.found = self._cluster.address in {ray.address for ray in started_rays()}
        told.unlink(missing_ok=True)
        self.gpu = self.join(num_gpus=1)

    def join(self, num_gpus: int = 0) -> Any:
        """Let a node join that was started in another folder."""
        before = Path.cwd()
        os.chdir(self._elsewhere)
        try:
            return self._cluster.add_node(num_cpus=1, num_gpus=num_gpus)
        finally:
            os.chdir(before)

    def announce(self, node: Any) -> None:
        """Give Ray the notice of a spot node that will be taken away."""
        from ray._raylet import GcsClient
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason

        reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline = int(1000 * (time.time() + 120))
        taken, why = GcsClient(address=self._cluster.address).drain_node(
            node.node_id, reason, "spot", deadline
        )
        assert taken, why

    def leave(self, node: Any) -> None:
        """End a node without a word to Ray, and wait until Ray has noticed."""
        import ray

        gone = node.node_id
        self._cluster.remove_node(node, allow_graceful=False)
        wait_until(lambda: gone not in {n["NodeID"] for n in ray.nodes() if n["Alive"]})

    def close(self) -> None:
        """End them all."""
        import ray

        ray.shutdown()
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    variables = ENVIRONMENT | {ASKS_DASHBOARD: "0"}
    before = {key: os.environ.get(key) for key in variables}
    os.environ.update(variables)
    started = Nodes(tmp_path_factory.mktemp("elsewhere"))
    try:
        yield started
    finally:
        started.close()
        for key, value in before.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"train.cpus_per_worker": 2}, r"1 worker\(s\) with 2 CPU .* has 2 CPU .* on 2 node\(s\)"),
        ({"train.workers": 4}, r"a trial needs 4 worker\(s\) .* or join a larger cluster"),
        (
            {"train.workers": 2, "train.gpus_per_worker": 1},
            r"1 GPU each .* and 1 GPU on 2 node\(s\): lower them",
        ),
        ({"storage": f"{HERE}/runs"}, r"not every node .*: /proc.* is not the folder .*mount"),
        ({"data.store": f"{HERE}/store"}, r"not every node .*cannot read /proc.*same path"),
        ({"tracking.uri": "http://127.0.0.1:9"}, r"tracking.uri: MLflow at .* does not answer"),
    ],
    ids=lambda value: (
        " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else ""
    ),
)
def test_refused_before_the_first_trial(
    changes: dict[str, Any],
    remedy: str,
    nodes: Nodes,
    sweep_values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").symlink_to(sweep_values["base"]["data"]["store"])
    values = {**sweep_values, "base": _changed(sweep_values["base"], changes)}
    if "tracking.uri" in changes:
        values["tracking"] = {"uri": changes["tracking.uri"]}
    spec = parse_sweep({**values, "storage": changes.get("storage", "runs")}, "small.yaml")
    with pytest.raises(UserError, match=f"(?s){remedy}"):
        driver.run(spec)
    assert not (tmp_path / "runs/sweeps/small").exists()  # nothing half-started is left
    assert not list(tmp_path.glob("runs/.preflight*"))


def _changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    from c2vl.config.reading import override

    return override(base, {k: v for k, v in changes.items() if k.startswith(("train.", "data."))})


def test_a_ray_that_was_started_here_is_found(nodes: Nodes) -> None:
    assert nodes.found


def test_two_trials_share_a_gpu(nodes: Nodes, tmp_path: Path) -> None:
    """Half a GPU each: two run at once, on the one node that has it, and the third waits."""
    settings = {"gpus_per_worker": 0.5, "cpus_per_worker": 0.5}
    experiment = from_dict({"train": settings})
    concurrency = Concurrency(experiment.train, None)
    assert concurrency() == 2
    seen = _run_together(experiment, tmp_path, concurrency, trainings=3, together=2)
    assert len({node for node, _ in seen}) == 1
    assert sorted(at for _, at in seen)[1:] == ["2", "2"]


@pytest.mark.parametrize("autoscaling", [False, True])
def test_a_node_that_joins_is_used(autoscaling: bool, nodes: Nodes, tmp_path: Path) -> None:
    """By default when it is there; where the cluster grows on demand the demand comes first."""
    experiment = from_dict({})
    concurrency = Concurrency(experiment.train, 3, autoscaling)
    assert concurrency() == (3 if autoscaling else 2)
    demand: list[int] = []

    def join() -> None:
        wait_until(lambda: len(list(tmp_path.glob("at-*"))) == 2)
        demand.append(_pending() if autoscaling else 0)
        joined = nodes.join()
        wait_until(lambda: len(list(tmp_path.glob("was-*"))) == 3)
        nodes.leave(joined)

    seen = _run_together(experiment, tmp_path, concurrency, trainings=3, together=3, meanwhile=join)
    assert demand == [1 if autoscaling else 0]  # what an autoscaler sees
    assert len({node for node, _ in seen}) == 3
    assert {at for _, at in seen} == {"3"}


class Attempts(Listener):
    """Listens which attempts start, what is reported, and how trainings end."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.epochs: list[int] = []
        self.outcomes: list[str] = []

    def started(self, training: Training, attempt: int) -> None:
        self.seen.append(attempt)

    def reported(self, training: Training, row: Row) -> None:
        self.epochs.append(row["epoch"])

    def ended(self, training: Training, end: End) -> None:
        self.outcomes.append(end.outcome)
        (training.folder.parent / f"{training.name}.ended").touch()


def test_lost_nodes_are_not_counted_as_failures(nodes: Nodes, tmp_path: Path) -> None:
    """A spot node that is taken away twice leaves a trial the one failure that it may have.

    The trial's new process learns which epochs it need not report again.
    """
    experiment = from_dict({"train": {"gpus_per_worker": 1}})
    attempts, place = Attempts(), str(tmp_path)

    def trainable(config: dict[str, Any]) -> None:
        import os
        import time
        from pathlib import Path

        from ray import tune

        tune.report({"epoch": 1})  # returns once the driver has it
        (Path(place) / f"pid-{os.getpid()}").write_text(str(config.get("told")))
        while not (Path(place) / "go").exists():
            time.sleep(0.05)
        tune.report({"epoch": 1, "outcome": "complete"})

    def take_away() -> None:
        for times in (1, 2):
            wait_until(lambda: len(list(tmp_path.glob("pid-*"))) == times)  # noqa: B023
            nodes.leave(nodes.gpu)
            nodes.gpu = nodes.join(num_gpus=1)
        (tmp_path / "go").touch()

    _run(
        [Training("spot", experiment, tmp_path / "spot")],
        trainable,
        lambda: 1,
        take_away,
        listeners=[attempts],
        max_failures=1,
    )
    assert (attempts.seen, attempts.outcomes) == ([1, 2, 3], ["complete"])
    told = [path.read_text() for path in tmp_path.glob("pid-*")]
    assert sorted(told) == ["1", "1", "None"]  # the last epoch that the driver had


def test_a_group_on_two_nodes_survives_one(
    nodes: Nodes, sweep_values: dict[str, Any], tmp_path: Path
) -> None:
    """Its two workers need both nodes; the loss counts neither for Ray Train nor for Tune.

    The notice before it leads to the only checkpoint, which the other node goes on from.
    """
    settings = {"train.workers": 2, "train.epochs": 40, "train.checkpoint_every": 1000}
    experiment = from_dict({**_changed(sweep_values["base"], settings), "name": "wide"})
    attempts, training = Attempts(), Training("wide", experiment, tmp_path / "wide")

    def take_away() -> None:
        wait_until(lambda: len(training.rows()) >= 2)
        assert not list(training.run.checkpoints.glob("*"))
        nodes.announce(nodes.gpu)
        wait_until(lambda: list(training.run.checkpoints.glob("*")))
        nodes.leave(nodes.gpu)
        nodes.gpu = nodes.join(num_gpus=1)

    _run([training], trial.run, lambda: 1, take_away, listeners=[attempts], max_failures=1)
    # Ray Train may restart the workers while the lost node's bundle is still there; Tune starts the
    # trial once more then.
    assert attempts.seen in ([1, 2], [1, 2, 3])
    assert attempts.outcomes == ["complete"]
    assert attempts.epochs == list(range(1, 41))


def test_a_node_that_hides_the_storage_is_found_at_its_first_trial(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever it joined: nobody looks at a node before Ray gives it a trial."""
    monkeypatch.chdir(tmp_path)
    Path("id").write_text("sweep")
    experiment = from_dict({"train": {"gpus_per_worker": 1}})
    training, stop, attempts = Training("hidden", experiment, tmp_path / "a"), Stop(), Attempts()
    _run(
        [training, replace(training, name="next")],
        trial.run,
        lambda: 1,
        lambda: None,
        listeners=[attempts],
        shared=(f"{HERE}/id", "sweep"),
        stop=stop,
    )
    assert attempts.outcomes == ["interrupted"] and not training.folder.exists()
    assert re.search(r"node .*: /proc/self/cwd is not the folder .*mount", str(stop.error))


def test_a_process_lost_between_two_trials(nodes: Nodes, tmp_path: Path) -> None:
    """It stays for the next trial; that one loses nothing, whether it has started there or not."""
    attempts = Attempts()

    def trainable(config: dict[str, Any]) -> None:
        import os
        import signal
        import threading
        import time
        from pathlib import Path

        from ray import tune

        folder = Path(config["folder"])

        def die() -> None:
            while not folder.with_suffix(".ended").exists():
                time.sleep(0.001)
            time.sleep(0.01 * int(folder.name))
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=die, daemon=True).start()
        tune.report({"epoch": 1, "outcome": "complete"})

    trainings = [
        Training(str(number), from_dict({}), tmp_path / str(number)) for number in range(10)
    ]
    _run(trainings, trainable, lambda: 1, lambda: None, listeners=[attempts], max_failures=3)
    assert attempts.outcomes == ["complete"] * len(trainings)


def _pending() -> int:
    """Placement groups that wait for resources."""
    from ray.util.placement_group import placement_group_table

    deadline = time.monotonic() + 20
    while True:
        states = [group["state"] for group in placement_group_table().values()]
        if (waiting := states.count("PENDING")) or time.monotonic() > deadline:
            return waiting
        time.sleep(0.1)


def _run_together(
    experiment: Experiment,
    folder: Path,
    concurrency: Callable[[], int],
    trainings: int,
    together: int,
    meanwhile: Callable[[], None] = lambda: None,
) -> list[tuple[str, str]]:
    """Run trainings that wait for each other; return their nodes and how many each saw at once."""
    place = str(folder)

    def trainable(config: dict[str, Any]) -> None:  # pickled by value: it needs no module there
        import time
        from pathlib import Path

        import ray
        from ray import tune

        mine = Path(place) / f"at-{config['name']}"
        mine.touch()
        deadline = time.monotonic() + 90
        at = 0
        while at < together and time.monotonic() < deadline:
            if list(Path(place).glob("was-*")):
                break
            at = max(at, len(list(Path(place).glob("at-*"))))
            time.sleep(0.05)
        node = ray.get_runtime_context().get_node_id()
        time.sleep(0.5)
        at = max(at, len(list(Path(place).glob("at-*"))))
        (Path(place) / f"was-{config['name']}").write_text(f"{node} {at}")
        mine.unlink()
        tune.report({"epoch": 1, "outcome": "complete"})

    listed = [Training(f"job{i}", experiment, folder / f"job{i}") for i in range(trainings)]
    _run(listed, trainable, concurrency, meanwhile)
    words = [path.read_text().split() for path in sorted(folder.glob("was-*"))]
    assert len(words) == trainings
    return [(node, at) for node, at in words]


def _run(
    trainings: list[Training],
    trainable: Callable[[dict[str, Any]], None],
    concurrency: Callable[[], int],
    meanwhile: Callable[[], None],
    listeners: Sequence[Any] = (),
    max_failures: int = 0,
    shared: tuple[str, str] | None = None,
    stop: Stop | None = None,
) -> None:
    """Run trainings in a thread, and something else in the main one, where Ray lets nodes join."""
    folder = trainings[0].folder.parent / "tune"
    runner = threading.Thread(
        target=lambda: run_trainings(
            ListedTrainings(trainings),
            name="jobs",
            folder=folder,
            trainable=trainable,
            listeners=listeners,
            stop=Stop() if stop is None else stop,  # one that nobody asked for is false
            shared=shared,
            concurrency=concurrency,
            bundles=trial_resources(trainings[0].experiment),
            max_failures=max_failures,
        )
    )
    runner.start()
    try:
        meanwhile()
    finally:
        runner.join()


def test_nothing_pickled_holds_a_path_of_this_machine(tmp_path: Path) -> None:
    """What goes to the nodes names the shared folders alone, and code by its module."""
    from ray import cloudpickle

    from c2vl.training import documented_trainer, launch, train_group

    shipped = [trial.run, launch._loop, documented_trainer._work, train_group._work]
    pickled = b"".join(cloudpickle.dumps(item) for item in shipped)
    for path in (REPOSITORY, Path.home(), Path.cwd(), Path(os.__file__).parent):
        assert str(path).encode() not in pickled
