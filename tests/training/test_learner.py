"""One worker's steps: what an earlier checkpoint, a precision or an accumulation changes."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from c2vl.config.experiment import Experiment
from c2vl.objective.base import Batch
from c2vl.skeletons.layout import get_layout
from c2vl.training.learner import Learner, Student
from tests.small import from_dict

N, DIMS = 8, {"language": 6, "vision": 5}


def experiment(**changes: Any) -> Experiment:
    """One edge has a weight of 0, so that its parameters are frozen."""
    values: dict[str, Any] = {
        "prompts": {"language": "l", "vision": "v", "adapter": True},
        "model": {"hidden": 4, "feature": 16},
        "objective": {
            "learn_temperature": True,
            "weights": {"skeleton_vision": 0, "vision_language": 0.3},
        },
        "train": {"batch_size": N},
    }
    return from_dict({**values, **changes})


def batch(seed: int = 1) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(N, 2, 16, 20, 3, generator=draw)
    present = torch.ones(N, 2, dtype=torch.bool)
    present[1::2, 1] = False
    concepts = {name: normalize(torch.randn(N, dim, generator=draw)) for name, dim in DIMS.items()}
    return Batch(x, present, concepts, torch.arange(N) % 3)


def learner(settings: Experiment) -> Learner:
    return Learner(settings, get_layout("kinect20"), DIMS, 3, 10, torch.device("cpu"))


@pytest.mark.parametrize("optim", [{}, {"momentum": 0}, {"name": "adamw"}], ids=str)
def test_a_checkpoint_whose_optimizer_knows_the_unused_edge(optim: dict[str, Any]) -> None:
    """As written before parameters of unused edges were frozen."""
    settings = experiment(optim=optim)
    earlier, today = learner(settings), learner(settings)
    for value in earlier.student.parameters():
        value.requires_grad_(True)
    earlier.optimizer = earlier._optimizer()
    earlier.step(batch(), 0)
    today.load_state_dict(copy.deepcopy(earlier.state_dict()))
    for one in (earlier, today):
        one.step(batch(2), 1)
    for a, b in zip(earlier.student.parameters(), today.student.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(not value.requires_grad for value in today.student.parameters())


def steps(settings: Experiment, *, training: bool = True, count: int = 3) -> tuple[Learner, float]:
    """Train on a batch; in evaluation mode its sequences do not depend on each other."""
    made = learner(settings)
    made.student.train()
    if not training:
        made.student.encoder.eval()
    figures = [made.step(batch(), step) for step in range(count)]
    assert figures[-1]["loss"] < figures[0]["loss"]
    return made, figures[-1]["loss"]


@pytest.mark.parametrize("training", [False, True], ids=["alone", "with dropout and batch norm"])
def test_a_batch_in_parts(training: bool) -> None:
    """Without batch statistics and dropout the weights are those of the whole batch."""
    model = {"hidden": 4, "feature": 16, "dropout": 0.3 if training else 0.0}
    optim = {"lr": 0.02, "warmup": 0, "clip": 1.0}
    one, loss = steps(experiment(model=model, optim=optim), training=training)
    train = {"batch_size": N, "accumulate": 3}
    parts, in_parts = steps(experiment(model=model, optim=optim, train=train), training=training)
    weights, others = (list(each.student.parameters()) for each in (one, parts))
    if training:
        assert in_parts == pytest.approx(loss, abs=0.5) and in_parts != loss
        return
    assert in_parts == pytest.approx(loss, abs=1e-6)
    for a, b in zip(weights, others, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_more_parts_than_rows() -> None:
    """A small training set is a batch of fewer rows than the settings say."""
    given = batch().to(torch.device("cpu"), N + 5)
    assert [len(x) for x, _, _ in given.parts()] == [1] * N
    numbers = torch.cat([slots + 2 * row for row, slots in enumerate(given.slots)])
    assert torch.equal(numbers, given.present.flatten().nonzero()[:, 0])


def test_dropout_of_a_part_is_the_same_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The features whose loss is taken are those that the gradient passes through."""
    seen: list[Tensor] = []
    encode = Student.encode

    def noted(self: Student, *part: Any) -> Tensor:
        seen.append(encode(self, *part))
        return seen[-1]

    monkeypatch.setattr(Student, "encode", noted)
    model = {"hidden": 4, "feature": 16, "dropout": 0.3}
    train = {"batch_size": N, "accumulate": 2}
    made = learner(experiment(model=model, train=train))
    made.step(batch(), 0)
    first, second, *again = seen
    assert len(again) == 2 and not torch.equal(first, second)
    for a, b in zip((first, second), again, strict=True):
        assert torch.equal(a, b)
    norm = made.student.encoder.norm_data
    assert norm.momentum == 0.1  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_reduced_precision_beside_float32(name: str) -> None:
    optim = {"lr": 0.02, "warmup": 0, "clip": 1.0}
    settings = experiment(optim=optim, train={"batch_size": N, "precision": name})
    if name == "bf16":
        _, wanted = steps(experiment(optim=optim))
        made, loss = steps(settings)
        assert loss != wanted and loss == pytest.approx(wanted, abs=0.03)
    else:  # its first steps find a scale at which no gradient overflows, and change no weight
        made, _ = steps(settings, count=9)
        assert made.state_dict()["scaler"]["scale"] < 2**16
    assert all(value.dtype == torch.float32 for value in made.student.parameters())
    state = copy.deepcopy(made.state_dict())
    other = learner(settings)
    other.load_state_dict(state)
    assert ("scaler" in state) == (name == "fp16")
    for one in (made, other):
        one.step(batch(2), 9)
    for a, b in zip(made.student.parameters(), other.student.parameters(), strict=True):
        assert torch.equal(a, b)


class Waits(TorchDispatchMode):
    """Counts what makes a host wait for a GPU: values read, shapes that depend on values."""

    names = ("_local_scalar_dense", "nonzero", "masked_select", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = call.__name__.split(".")[0]
        booleans = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in self.names or booleans:
            self.found.append(name)
        return call(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "accumulate"), [("c2vl", 1), ("c2vl", 2), ("masked_motion", 1)])
def test_a_step_reads_no_value(name: str, accumulate: int) -> None:
    """But for its figures, all at once; whatever is masked, clipped, averaged or missing."""
    objective = {
        "targets": "both",
        "teacher": "ema",
        "learn_temperature": True,
        "weights": {"skeleton_vision": 0.5, "vision_language": 0.3},
    }
    train = {"batch_size": N, "ema": 0.9, "accumulate": accumulate}
    objective = objective if name == "c2vl" else {"name": name}
    optim, data = {"clip": 1.0}, {"frames": 16}
    settings = experiment(objective=objective, optim=optim, train=train, data=data)
    made = learner(settings)
    given = replace(batch(), has={"vision": torch.arange(N) % 3 > 0})
    given = given.to(torch.device("cpu"), accumulate)
    made.step(given, 0)
    with Waits() as waits:
        made.step(given, 1)
    assert waits.found == []
    with Waits() as waits:
        given.x[given.present]
        assert not bool(given.present.all())
    assert waits.found == ["index", "_local_scalar_dense"]


def test_the_average_teaches_with_averaged_statistics() -> None:
    """They move once a step, by the average's decay, and the teacher draws no dropout."""
    objective = {"targets": "inter", "teacher": "ema", "weights": {"vision_language": 0}}
    made = learner(experiment(objective=objective, train={"batch_size": N, "ema": 0.9}))
    assert made.average is not None
    name = "encoder.norm_data.running_mean"
    before = made.average.state_dict()[name].clone()
    given = batch().to(torch.device("cpu"))
    (_, first), (_, second) = made._teacher(given), made._teacher(given)  # type: ignore[misc]
    assert torch.equal(first, second)
    made.step(given, 9)  # decay is min(0.9, 10 / 19)
    moved = 10 / 19 * before + 9 / 19 * made.student.state_dict()[name]
    torch.testing.assert_close(made.average.state_dict()[name], moved)
