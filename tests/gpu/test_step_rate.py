"""Step rate on a GPU beside plain ST-GCN and PYSKL-style training: ``make bench-gpu``.

ST-GCN of the original width (hidden 64), T=64, V=25, two body slots, 60 % of the sequences with one
person as in NTU RGB+D 120, batch 128. Each row is the median over steps, after those that allocate,
compile and choose kernels. "Share of peak" is beside what a large matrix product reaches on the
same GPU in the same format, counted over the operations that had to be done: the plain networks
also compute absent bodies.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from c2vl.model.graph import spatial_partition
from c2vl.model.stgcn import STGCN
from c2vl.objective.base import Batch
from c2vl.skeletons.layout import get_layout
from c2vl.training.batches import TrainingSet, stream_batches
from c2vl.training.device import Precision, precision
from c2vl.training.learner import Learner
from c2vl.training.outline import operations
from tests.benchmarks.plain_stgcn import PlainSTGCN
from tests.scale.make import make_store, make_table
from tests.small import from_dict

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
BATCH, FRAMES, HIDDEN, DIM, ALONE = 128, 64, 64, 768, 0.6
WARM, STEPS = 10, 30
LAYOUT = get_layout("ntu25")


def settings(**train: Any) -> Any:
    return from_dict(
        {
            "prompts": {"language": "l"},
            "data": {"frames": FRAMES},
            "model": {"hidden": HIDDEN},
            "train": {"batch_size": BATCH, **train},
        }
    )


def batch() -> Batch:
    torch.manual_seed(0)
    present = torch.ones(BATCH, 2, dtype=torch.bool)
    present[: round(ALONE * BATCH), 1] = False
    x = torch.randn(BATCH, 2, FRAMES, 25, 3) * present[:, :, None, None, None]
    concepts = {"language": normalize(torch.randn(BATCH, DIM))}
    return Batch(x, present, concepts, torch.zeros(BATCH, dtype=torch.long))


def seconds(step: Callable[[], object], device: torch.device) -> float:
    """Return the median time of a step."""
    taken = []
    for number in range(WARM + STEPS):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= WARM:
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def peak(form: Precision) -> float:
    """Return the operations a second of a large product in a format."""
    size = 8192 if form.device.type == "cuda" else 256
    a = torch.randn(size, size, device=form.device)

    def product() -> None:
        with form.autocast():
            a @ a

    return 2 * size**3 / seconds(product, form.device)


def plain(device: torch.device, given: Batch) -> Callable[[], object]:
    """Plain ST-GCN with a linear head on the same contrast (InfoNCE), SGD with momentum."""
    adjacency = torch.from_numpy(spatial_partition(LAYOUT.parents, LAYOUT.centre))
    network = PlainSTGCN(adjacency, hidden=HIDDEN, feature=256, kernel=9, dropout=0.0).to(device)
    head = torch.nn.Linear(256, DIM).to(device)
    values = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(values, 0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    x, label = given.x.permute(0, 4, 2, 3, 1).contiguous(), torch.arange(BATCH, device=device)

    def step() -> float:
        z = normalize(head(network(x, given.present)))
        logits = z @ given.concepts["language"].t() / 0.1
        loss = torch.nn.functional.cross_entropy(logits, label)
        loss = (loss + torch.nn.functional.cross_entropy(logits.t(), label)) / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def test_step_rate(gpu: torch.device) -> None:
    given = batch().to(gpu)
    bodies = int(given.present.sum())
    work = operations(STGCN(LAYOUT, hidden=HIDDEN), FRAMES) * bodies
    print(f"\n{torch.cuda.get_device_name(gpu)}, torch {torch.__version__}")
    print(f"{'':28}{'sequences/s':>12}{'ms/step':>9}{'of peak':>9}{'MiB':>8}")
    rates: dict[str, float] = {}

    def row(name: str, step: Callable[[], object], form: Precision) -> None:
        torch.cuda.reset_peak_memory_stats(gpu)
        taken = seconds(step, gpu)
        rates[name] = BATCH / taken
        share, memory = work / taken / peak(form), torch.cuda.max_memory_allocated(gpu) / 2**20
        print(f"{name:28}{rates[name]:12.0f}{1e3 * taken:9.2f}{share:9.1%}{memory:8.0f}")

    for name, benchmark in (("plain ST-GCN", False), ("PYSKL-style", True)):
        # PYSKL lets cuDNN choose kernels by trying them, and TF32 be used in convolutions.
        form = precision("tf32", gpu)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.benchmark = benchmark
        row(name, plain(gpu, given), form)
    torch.backends.cudnn.benchmark = False
    for changes in (
        {"precision": "fp32"},
        {"precision": "tf32"},
        {"precision": "bf16"},
        {"precision": "tf32", "compile": True},
        {"precision": "bf16", "compile": True},
        {"precision": "bf16", "accumulate": 4},
    ):
        made = Learner(settings(**changes), LAYOUT, {"language": DIM}, 3, 10**6, gpu)
        placed = batch().to(gpu, changes.get("accumulate", 1))
        name = "C²VL " + ", ".join(str(v) if k == "precision" else k for k, v in changes.items())
        row(name, lambda made=made, placed=placed: made.step(placed, 1), made.student.precision)
    assert rates["C²VL tf32"] > rates["plain ST-GCN"]


def test_waiting_for_data(gpu: torch.device, tmp_path: Path) -> None:
    """Steps on a store of NTU RGB+D 120's kind, with its data on the device and on the disk."""
    store = make_store(tmp_path / "store", 4096)
    make_table(tmp_path / "language", store, "language")
    values = settings(precision="bf16").model_dump(mode="json")
    values["data"] |= {"store": str(store.path), "split": "xsub"}
    values["prompts"] |= {"language": str(tmp_path / "language")}
    for budget in (None, 0):
        source = TrainingSet(from_dict(values))
        kept = source.move(gpu, budget)
        made = Learner(source.experiment, source.layout, {"language": DIM}, 120, 10**6, gpu)
        waited, began = 0.0, 0.0
        for step, (given, wait) in enumerate(stream_batches(source, 0, WARM + STEPS, 0)):
            if step == WARM:
                waited, began = 0.0, time.perf_counter()
            waited += wait
            made.step(given, step)
        taken = time.perf_counter() - began
        print(
            f"\non the device: {', '.join(kept) or 'nothing'}: {STEPS * BATCH / taken:.0f} "
            f"sequences/s, {waited / taken:.1%} of the time waiting for data",
            end="",
        )
