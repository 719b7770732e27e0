"""Training on a GPU: what the other tests show on a CPU, and what only a GPU can show."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from c2vl.config.experiment import Experiment
from c2vl.objective.base import Batch
from c2vl.probes import linear, neighbours
from c2vl.skeletons.layout import get_layout
from c2vl.support.errors import TrainingError
from c2vl.training.batches import TrainingSet, stream_batches
from c2vl.training.device import told_plainly, worker_device
from c2vl.training.learner import Learner
from c2vl.training.loop import Session, train
from c2vl.training.run_folder import RunFolder
from tests.shell import free_port
from tests.training.test_learner import DIMS, batch
from tests.training.test_learner import experiment as settings_of

pytestmark = pytest.mark.gpu

EVERYTHING: dict[str, Any] = {
    "objective": {
        "targets": "both",
        "teacher": "ema",
        "learn_temperature": True,
        "weights": {"skeleton_vision": 0.5, "vision_language": 0.3},
    },
    "optim": {"clip": 1.0},
}


def masked() -> Batch:
    return replace(batch(), has={"vision": torch.arange(8) % 3 > 0})


def learner(device: torch.device, **train_settings: Any) -> Learner:
    chosen = {"batch_size": 8, "ema": 0.9, **train_settings}
    settings = settings_of(**EVERYTHING, train=chosen)
    return Learner(settings, get_layout("kinect20"), DIMS, 3, 10, device)


def trained(settings: Experiment, folder: Path, gpu: torch.device, stop: int = 0) -> bytes:
    """Train, or stop at an epoch; return the encoder's weights."""

    class Stop(Exception):
        pass

    def report(row: dict[str, Any]) -> None:
        if row["epoch"] == stop:
            raise Stop

    try:
        train(settings, Session(RunFolder(folder), report, device=gpu))
    except Stop:
        return b""
    return (folder / "encoder" / "encoder.safetensors").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "fp32"},
        {"precision": "tf32"},
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"precision": "bf16", "compile": True},
        {"precision": "fp32", "accumulate": 2},
    ],
    ids=str,
)
def test_resumed_equals_straight_bit_for_bit(
    experiment: Any, gpu: torch.device, tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings = experiment(
        model__dropout=0.1,
        train__ema=0.9,
        **{f"train__{name}": value for name, value in changes.items()},
    )
    straight = trained(settings, tmp_path / "straight", gpu)
    trained(settings, tmp_path / "cut", gpu, stop=2)
    assert trained(settings, tmp_path / "cut", gpu) == straight
    rows = RunFolder(tmp_path / "straight").rows()
    assert rows[-1]["loss"] < rows[0]["loss"] + 0.5 and rows[-1]["knn_val"] > 0
    assert torch.cuda.get_device_name(gpu) in RunFolder(tmp_path / "straight").said()[0]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", ["tf32", "bf16", "fp16"])
def test_a_step_waits_once(gpu: torch.device, name: str, accumulate: int) -> None:
    made = learner(gpu, precision=name, accumulate=accumulate)
    given = masked().to(gpu, accumulate)
    for step in range(3):  # the first allocate
        made.step(given, step)
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        made.step(given, 3)
    waits = [str(one.message) for one in found if "synchroniz" in str(one.message)]
    assert len(waits) <= 1, waits  # the event that the figures are read after may not be counted


def test_steps_are_those_of_a_cpu(gpu: torch.device) -> None:
    """In float32, with masks, teacher, clipping; ten batch norms magnify rounding."""
    cpu = torch.device("cpu")
    makers = {device: learner(device, precision="fp32") for device in (cpu, gpu)}
    found = {device: made.step(masked(), 0) for device, made in makers.items()}
    assert found[gpu] == pytest.approx(found[cpu], rel=1e-3)


@pytest.mark.parametrize("stream", ["joint", "bone", "motion"])
@pytest.mark.parametrize("budget", [1 << 40, 0], ids=["resident", "pinned"])
def test_batches_are_those_of_a_cpu(
    experiment: Any, gpu: torch.device, stream: str, budget: int
) -> None:
    """Whatever TF32 does to products elsewhere."""
    torch.backends.cuda.matmul.allow_tf32 = True
    augment = {"noise": 0.01, "scale": 0.1, "mirror": 0.5, "joint_mask": 0.1}
    settings = experiment(data__stream=stream, data__augment=augment)
    there, here = TrainingSet(settings), TrainingSet(settings)
    assert bool(there.move(gpu, budget)) == (budget > 0)
    streams = (stream_batches(source, 0, 4, 0) for source in (there, here))
    for (a, _), (b, _) in zip(*streams, strict=True):
        assert a.x.is_cuda
        torch.testing.assert_close(a.x.cpu(), b.x, rtol=0, atol=1e-6)
        for name, rows_nD in b.concepts.items():
            torch.testing.assert_close(a.concepts[name].cpu(), rows_nD, rtol=0, atol=1e-6)
        assert torch.equal(a.slots[0].cpu(), b.slots[0])


def test_no_memory_left_is_told(gpu: torch.device) -> None:
    told = pytest.raises(TrainingError, match=r"no memory left on cuda.*train\.accumulate")
    with told, told_plainly("run", gpu):
        torch.empty(1 << 45, device=gpu)


def test_the_optimizer_is_fused_and_weights_lie_channels_last(gpu: torch.device) -> None:
    made = learner(gpu)
    assert all(group["fused"] for group in made.optimizer.param_groups)
    convolutions = [one for one in made.student.encoder.modules() if isinstance(one, nn.Conv2d)]
    for one in convolutions:
        assert one.weight.is_contiguous(memory_format=torch.channels_last)


def _worker(rank: int, port: int, folder: str) -> None:
    device = worker_device(1, (rank,))
    dist.init_process_group("nccl", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    made = learner(device, precision="fp32")
    for model in (made.student, made.average):
        assert isinstance(model.encoder.norm_data, nn.SyncBatchNorm)  # type: ignore[union-attr]
    whole, part = masked(), slice(4 * rank, 4 * rank + 4)
    mine = Batch(
        whole.x[part],
        whole.present[part],
        {name: rows[part] for name, rows in whole.concepts.items()},
        whole.labels[part],
        {name: rows[part] for name, rows in whole.has.items()},
    )
    figures = made.step(mine, 0)
    weights: dict[str, Tensor] = {n: v.cpu() for n, v in made.student.state_dict().items()}
    torch.save((figures, weights), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_probes_of_a_gpu_are_a_cpus(gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "LARGE", 0)
    unit = neighbours.unit
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 9, (900,), generator=draw).numpy()
    centres = torch.randn(9, 12, generator=draw).numpy()
    rows = centres[labels] + torch.randn(900, 12, generator=draw).numpy()
    known, asked = (rows[300:], labels[300:]), (rows[:300], labels[:300])
    fold = np.arange(600) % 3
    for device in (gpu, torch.device("cpu")):
        probe, _ = linear.fit_chosen(*known, fold, classes=9, device=device)
        sgd = linear.sgd_hits(*known, *asked, classes=9, device=device)["last"]
        places = {"votes": [5], "truth": asked[1], "device": device}
        near = neighbours.rank(unit(known[0]), known[1], [unit(asked[0])], **places)
        found = probe.scores(asked[0]), sgd.mean(), near.predicted[5], near.precisions
        if device == gpu:
            there = found
    assert (there[0].argmax(1) != found[0].argmax(1)).mean() < 0.01
    assert there[1] == pytest.approx(found[1], abs=0.02)
    assert (there[2] != found[2]).mean() < 0.01
    np.testing.assert_allclose(there[3], found[3], atol=1e-3)


def test_two_gpus_are_one(gpu: torch.device, tmp_path: Path) -> None:
    """Batch statistics, loss and weights of two workers are those of one with the whole batch."""
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    port = free_port()
    mp.spawn(_worker, (port, str(tmp_path)), nprocs=2)
    one = learner(gpu, precision="fp32")
    wanted = one.step(masked(), 0)
    for rank in range(2):
        figures, weights = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert figures == pytest.approx(wanted, rel=1e-3)
        for name, value in one.student.state_dict().items():
            torch.testing.assert_close(weights[name], value.cpu(), rtol=1e-2, atol=1e-4)
