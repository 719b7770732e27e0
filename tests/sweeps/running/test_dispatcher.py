"""What the driver keeps of runs that lie at a URL, while they run and when they have ended."""

from __future__ import annotations

import json
from typing import Any

from c2vl.config.experiment import Experiment
from c2vl.support.errors import StorageAway
from c2vl.support.remote import RemoteFolder
from sweeps.running.dispatcher import Dispatcher
from sweeps.running.stopping import Stop
from sweeps.spec.sweep_folder import SweepFolder
from sweeps.spec.training import End, ListedTrainings, Listener, Training
from tests.object_storage import Proxy


class Ends(Listener):
    """Takes down outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def ended(self, training: Training, end: End) -> None:
        self.outcomes.append(end.outcome)


def test_figures_of_a_run_at_a_url(bucket: str, proxy: Proxy) -> None:
    folder = SweepFolder.of(bucket, "s")
    assert folder.mirror is not None
    folder.mirror.remote = RemoteFolder(folder.mirror.url, 0.5)
    listed = [
        Training(
            name,
            Experiment.model_validate({"data": {"store": "s"}, "prompts": {"language": "l"}}),
            folder.trials / name,
            mirror=folder.mirror,
        )
        for name in ("s-0000", "s-0001")
    ]
    stop, ends = Stop(), Ends()
    dispatcher = Dispatcher(ListedTrainings(listed), [ends], stop)
    training = dispatcher.take("a")
    assert training is not None and str(training.run) == f"{bucket}/sweeps/s/trials/s-0000"

    def epochs() -> list[int]:
        return [row["epoch"] for row in training.rows()]

    def written(last: int) -> bytes:
        rows: list[dict[str, Any]] = [{"epoch": epoch, "loss": 1.0} for epoch in range(1, last + 1)]
        return "".join(f"{json.dumps(row)}\n" for row in rows).encode()

    there = RemoteFolder(f"{bucket}/sweeps/s/trials/s-0000")
    dispatcher.result("a", {"epoch": 1, "loss": 1.0})
    assert epochs() == [1]  # as it was told: nothing is asked for
    there.write("metrics.jsonl", written(3))
    dispatcher.result("a", {"epoch": 3, "loss": 1.0})  # the process that had 2 was lost
    assert epochs() == [1, 2, 3]
    there.write("metrics.jsonl", written(4))
    there.write("warnings.txt", b"a warning\n")
    dispatcher.ended("a", pruned=True)
    assert epochs() == [1, 2, 3, 4] and training.warnings() == "a warning\n"

    dispatcher.take("b")
    proxy.sick(503, 60)
    dispatcher.ended("b", pruned=True)  # nobody knows what it has left
    assert ends.outcomes == ["pruned", "interrupted"]
    assert stop and isinstance(stop.error, StorageAway)
    assert dispatcher.take("c") is None
