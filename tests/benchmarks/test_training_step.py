"""Training step against a plain ST-GCN, side by side: ``make bench``.

Hidden 16, feature 256, T=50, V=25, batch 64, 80 % of sequences with one person, one thread. The two
take turns in one run, so that a noisy machine slows both; the ratio of medians is what counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from c2vl.model.ctrgcn import CTRGCN
from c2vl.model.graph import spatial_partition
from c2vl.model.stgcn import STGCN
from c2vl.skeletons.layout import get_layout
from tests.benchmarks.plain_stgcn import PlainSTGCN, copy_weights

BATCH, FRAMES, JOINTS, ROUNDS = 64, 50, 25, 5
TARGET = 2.5


def models() -> tuple[PlainSTGCN, STGCN]:
    torch.manual_seed(0)
    layout = get_layout("ntu25")
    adjacency = torch.from_numpy(spatial_partition(layout.parents, layout.centre))
    plain = PlainSTGCN(adjacency, hidden=16, feature=256, kernel=9, dropout=0.0)
    ours = STGCN(layout, hidden=16, feature=256)
    copy_weights(ours, plain)
    return plain, ours


def clips(one_person: float) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    present = torch.ones(BATCH, 2, dtype=torch.bool)
    present[: round(BATCH * one_person), 1] = False
    x = torch.randn(BATCH, 2, FRAMES, JOINTS, 3)
    return x * present[:, :, None, None, None], present


def step(model: nn.Module, x: Tensor, present: Tensor) -> Tensor:
    model.zero_grad(set_to_none=True)
    out = model(x, present)
    out.square().mean().backward()
    return out.detach()


def as_plain(x: Tensor) -> Tensor:
    return x.permute(0, 4, 2, 3, 1).contiguous()


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@pytest.mark.slow
def test_training_step_ratio() -> None:
    torch.set_num_threads(1)
    plain, ours = models()
    for name, mode, one_person in (("everybody present", True, 0.0), ("80 % alone", False, 0.8)):
        x, present = clips(one_person)  # evaluation mode where bodies are absent: in training the
        for model in (plain, ours):  # plain one takes empty bodies into its batch statistics
            model.train(mode)
        a, b = step(plain, as_plain(x), present), step(ours, x, present)
        grads = copy_weights(ours, plain, gradients=True)
        worst = max(
            float((grads[n] - p.grad).abs().max())
            for n, p in plain.named_parameters()
            if p.grad is not None
        )
        print(
            f"\n{name}: features differ by {float((a - b).abs().max()):.1e}, gradients {worst:.1e}"
        )
        assert float((a - b).abs().max()) < 1e-4 and worst < 1e-4
    x, present = clips(0.8)
    x_plain = as_plain(x)
    plain.train(), ours.train()
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(ROUNDS + 1):
        times["plain"].append(seconds(lambda: step(plain, x_plain, present)))
        times["ours"].append(seconds(lambda: step(ours, x, present)))
    median = {name: statistics.median(values[1:]) for name, values in times.items()}
    ratio = median["plain"] / median["ours"]
    for name, value in median.items():
        print(f"{name}: {value:.3f} s a step, {BATCH / value:.1f} samples/s")
    print(f"ratio: {ratio:.2f} (target {TARGET})")
    assert ratio >= TARGET


@pytest.mark.slow
def test_training_step_of_ctrgcn_beside_stgcn() -> None:
    """Measured, without a target: what the second backbone costs at the same width."""
    torch.set_num_threads(1)
    layout = get_layout("ntu25")
    networks = {"ST-GCN": STGCN(layout, hidden=16), "CTR-GCN": CTRGCN(layout, hidden=16)}
    x, present = clips(0.8)
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(ROUNDS + 1):
        for name, network in networks.items():
            times[name].append(seconds(partial(step, network.train(), x, present)))
    for name, values in times.items():
        median = statistics.median(values[1:])
        weights = sum(value.numel() for value in networks[name].parameters())
        print(f"{name}: {median:.3f} s a step, {BATCH / median:.1f} samples/s, {weights} weights")
