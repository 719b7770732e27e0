"""What protocols that run a network will cost, from a few timed steps of that network here."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence

import torch
from pydantic import BaseModel
from torch.nn import functional

from c2vl.encoder import Encoder
from c2vl.protocols.finetune import planned
from c2vl.protocols.robustness import SPOILT
from c2vl.protocols.settings import TrainingSettings
from c2vl.protocols.supervised import Classifier
from c2vl.protocols.task import Task
from c2vl.support.progress import span
from c2vl.training.device import Precision

_TIMED = 2  # steps, after one that allocates
_ROWS = 64  # sequences of a timed forward pass
_SHORT = 60.0  # seconds: less is told as such


def expected(runs: Sequence[tuple[str, Task, BaseModel | None]]) -> list[str]:
    """Say what runs of protocols are going to cost, in one or two lines; none without runs.

    Args:
        runs: protocol, task and settings of each.
    """
    if not runs:
        return []
    clock = _Clock()
    spent: dict[str, float] = {}
    embedded = set()
    for protocol, task, settings in runs:
        spent.setdefault(protocol, 0.0)
        if isinstance(settings, TrainingSettings):
            for one in planned(task, settings):
                rows = min(len(one.fit), settings.batch_size)
                steps = settings.epochs * len(one.fit) / rows
                spent[protocol] += steps * clock.step(task, rows) / settings.workers
            continue
        if task.encoder.digest not in embedded and protocol != "raw-neighbours":
            embedded.add(task.encoder.digest)
            spent["embedding"] = spent.get("embedding", 0.0) + len(task.store) * clock.forward(task)
        if protocol == "robustness":
            scored = sum(len(one.scored) for one in task.folds)
            spent[protocol] += SPOILT * scored * clock.forward(task)
    in_order = sorted(spent.items(), key=lambda item: -item[1])
    long = [f"{name} {span(of)}" for name, of in in_order if of >= _SHORT]
    total = sum(spent.values())
    about = f"about {span(total)}" if total >= _SHORT else "about a minute or less"
    what = f"all: {len(runs)} runs of protocols, {about} for networks by {_TIMED} timed steps"
    return [
        what + (f" ({', '.join(long)})" if long else "") + "; probes and neighbours come on top",
        f"for less: --only with some of {', '.join(sorted(set(spent) - {'embedding'}))}; fewer "
        "--epochs",
    ]


class _Clock:
    """Times a network's steps; networks of one architecture and input take equally long."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}

    def step(self, task: Task, rows: int) -> float:
        """Seconds of an optimizer step of a classifier on some sequences."""

        def timed() -> Callable[[], None]:
            network = copy.deepcopy(task.encoder.model).train()
            model = Classifier(network, network.feature, task.classes, task.precision)
            model = model.to(task.device)
            x, present = _inputs(task.encoder, task, rows)
            labels = torch.zeros(len(x), dtype=torch.long, device=task.device)
            return lambda: functional.cross_entropy(model(x, present), labels).backward()

        return self._seconds(f"step {rows}", task, timed)

    def forward(self, task: Task) -> float:
        """Seconds to embed a sequence."""

        def timed() -> Callable[[], None]:
            x, present = _inputs(task.encoder, task, _ROWS)

            def run() -> None:
                with torch.inference_mode(), task.precision.autocast():
                    task.encoder.model(x, present)

            return run

        return self._seconds("forward", task, timed) / _ROWS

    def _seconds(self, what: str, task: Task, make: Callable[[], Callable[[], None]]) -> float:
        card, form = task.encoder.card, task.precision
        key = repr((what, card["architecture"], card["preprocessing"], form.name, str(form.device)))
        if key not in self._known:
            run = make()
            run()
            _wait(form)
            began = time.perf_counter()
            for _ in range(_TIMED):
                run()
            _wait(form)
            self._known[key] = (time.perf_counter() - began) / _TIMED
        return self._known[key]


def _inputs(encoder: Encoder, task: Task, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return clips of random numbers, with as many bodies as the store's sequences have."""
    bodies = torch.tensor(task.store.index["bodies"].to_list()).clamp_min(1)
    given = bodies[torch.linspace(0, len(bodies) - 1, rows).long()]
    most = int(given.max())
    frames, joints = encoder.card["preprocessing"]["frames"], len(encoder.layout.joints)
    x = torch.randn(rows, most, frames, joints, 3, generator=torch.Generator().manual_seed(0))
    present = torch.arange(most) < given[:, None]
    return x.to(task.device), present.to(task.device)


def _wait(form: Precision) -> None:
    if form.device.type == "cuda":
        torch.cuda.synchronize(form.device)
