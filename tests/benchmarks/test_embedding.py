"""Embedding, the linear protocol and latency, side by side with the usual way: ``make bench``.

Hidden 16, feature 256, T=50, V=25, one thread. What is compared takes turns in one run, so that a
noisy machine slows all of it; ratios of medians are what counts.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from c2vl.encoder import Encoder, load_encoder, save_encoder
from c2vl.encoder.export_formats import save as save_as
from c2vl.encoder.onnx import load_onnx
from c2vl.probes.linear import sgd_hits
from c2vl.skeletons.layout import get_layout
from tests.benchmarks.test_training_step import as_plain, models, seconds

FRAMES, JOINTS, ROUNDS = 50, 25, 5
BATCH = 64
TARGET_EMBED, TARGET_LINEAR = 3.0, 10.0


def encoder() -> Encoder:
    _, ours = models()
    card = {
        "layout": get_layout("ntu25").to_dict(),
        "architecture": {
            "hidden": 16,
            "feature": 256,
            "temporal_kernel": 9,
            "dropout": 0.0,
            "edge_importance": True,
        },
        "preprocessing": {"frames": FRAMES, "centre": True, "align": True},
        "stream": "joint",
        "provenance": {},
    }
    return Encoder(ours, card)


def medians(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each call, in turns; the first round is left out."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS + 1):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


@pytest.mark.slow
def test_embedding_throughput(tmp_path: Path) -> None:
    """One-person sequences, preprocessing included in ours; the plain loop gets clips ready."""
    torch.set_num_threads(1)
    plain, _ = models()
    plain.eval()
    ours = encoder()
    save_as(ours, tmp_path / "onnx", "onnx")
    onnx = load_onnx(tmp_path / "onnx", threads=1)
    draw = np.random.default_rng(0)
    raw = [
        draw.normal(size=(int(t), JOINTS, 3)).astype(np.float32)
        for t in draw.integers(40, 120, BATCH)
    ]
    from c2vl.encoder.joints import to_clips

    x, present = to_clips(raw, ours.layout, ours.card["preprocessing"])
    padded = np.concatenate([x, np.zeros_like(x)], axis=1)  # the lineage's second, empty body
    both = torch.from_numpy(np.concatenate([present, ~present], axis=1))
    clips = as_plain(torch.from_numpy(padded))

    @torch.inference_mode()
    def run_plain() -> Tensor:
        features: Tensor = plain(clips, both)
        return features

    wanted = run_plain().numpy()
    for found in (ours.embed(raw), onnx.embed(raw)):
        scale = np.abs(wanted).max()
        assert np.abs(found - wanted).max() / scale < 1e-4
    found = medians(
        {
            "plain": run_plain,
            "torch": lambda: ours.embed(raw),
            "onnx": lambda: onnx.embed(raw),
            "torch, clips": lambda: ours.embed_clips(
                torch.from_numpy(x), torch.from_numpy(present)
            ),
        }
    )
    print()
    for name, value in found.items():
        rate = BATCH / value
        print(f"{name}: {rate:.0f} sequences/s, {found['plain'] / value:.2f} × plain")
    assert found["plain"] / found["torch"] >= TARGET_EMBED


@pytest.mark.slow
def test_linear_protocol_on_cached_features() -> None:
    """The usual way passes every batch through the frozen encoder in each of 100 epochs."""
    torch.set_num_threads(1)
    ours = encoder()
    epochs, count, classes = 100, 192, 10
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(count, 1, FRAMES, JOINTS, 3, generator=draw)
    labels = torch.randint(classes, (count,), generator=draw)
    x += labels[:, None, None, None, None] * 0.05
    present = torch.ones(count, 1, dtype=torch.bool)
    train, test = slice(0, 128), slice(128, count)

    began = time.perf_counter()
    rows = ours.embed_clips(x, present)
    fast = sgd_hits(
        rows[train], labels[train].numpy(), rows[test], labels[test].numpy(), classes=classes
    )
    cached = time.perf_counter() - began

    def scale(found: np.ndarray) -> np.ndarray:
        return (found - rows[train].mean(0)) / (rows[train].std(0) + 1e-6)

    # The same draws, batches and figures, but a forward pass for every batch of every epoch.
    def features(part: Tensor) -> Tensor:
        found = ours.embed_clips(x[part], present[part])
        return torch.from_numpy(scale(found))

    measured = 5  # epochs: the rest would be the same again
    again = torch.Generator().manual_seed(0)
    weight = torch.empty(classes, rows.shape[1]).normal_(0, 0.01, generator=again)
    weight.requires_grad_()
    bias = torch.zeros(classes, requires_grad=True)
    solver = torch.optim.SGD([weight, bias], lr=3.0, momentum=0.9)
    check = torch.Generator().manual_seed(0)
    same = torch.empty(classes, rows.shape[1]).normal_(0, 0.01, generator=check)
    same.requires_grad_()
    same_bias = torch.zeros(classes, requires_grad=True)
    other = torch.optim.SGD([same, same_bias], lr=3.0, momentum=0.9)
    spent = 0.0
    for _ in range(measured):
        for at in torch.randperm(128, generator=again).split(128):
            began = time.perf_counter()
            batch = features(at)
            solver.zero_grad()
            functional.cross_entropy(functional.linear(batch, weight, bias), labels[at]).backward()
            solver.step()
            spent += time.perf_counter() - began
        began = time.perf_counter()
        with torch.no_grad():
            functional.linear(features(torch.arange(128, count)), weight, bias).argmax(1)
        spent += time.perf_counter() - began
        for at in torch.randperm(128, generator=check).split(128):
            other.zero_grad()
            batch = torch.from_numpy(scale(rows[train]))[at]
            functional.cross_entropy(
                functional.linear(batch, same, same_bias), labels[at]
            ).backward()
            other.step()
    assert torch.allclose(weight, same, rtol=1e-3, atol=1e-3)  # the same classifier
    usual = spent / measured * epochs
    print(f"\nlinear, SGD, 100 epochs: cached {cached:.2f} s, usual way {usual:.2f} s (5 measured)")
    print(f"ratio {usual / cached:.1f} (target {TARGET_LINEAR}); top-1 {fast['last'].mean():.3f}")
    assert usual / cached >= TARGET_LINEAR


@pytest.mark.slow
def test_latency_and_cold_start(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    ours = encoder()
    save_as(ours, tmp_path / "onnx", "onnx")
    onnx = load_onnx(tmp_path / "onnx", threads=1)
    save_encoder(tmp_path / "encoder", ours.model, ours.card)
    loaded = load_encoder(tmp_path / "encoder")
    one = np.random.default_rng(0).normal(size=(80, JOINTS, 3)).astype(np.float32)
    print()
    for name, embed in (("torch", loaded.embed), ("onnx", onnx.embed)):
        embed([one])
        times = [1e3 * seconds(lambda embed=embed: embed([one])) for _ in range(100)]
        p50, p95, p99 = np.percentile(times, [50, 95, 99])
        print(f"{name}: one sequence p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f} ms")
    torch_alone = "import torch, numpy, safetensors.torch"
    with_ours = f"{torch_alone}; import c2vl; c2vl.load_encoder"
    cold = f"import c2vl, numpy; c2vl.load_encoder({str(tmp_path / 'encoder')!r})"
    cold += f".embed([numpy.zeros((9, {JOINTS}, 3)) + 1])"
    began = medians(
        {
            "torch": lambda: subprocess.run([sys.executable, "-c", torch_alone], check=True),
            "ours": lambda: subprocess.run([sys.executable, "-c", with_ours], check=True),
            "cold": lambda: subprocess.run([sys.executable, "-c", cold], check=True),
        }
    )
    beyond = began["ours"] - began["torch"]
    print(
        f"importing torch {began['torch']:.2f} s; load_encoder beyond it {beyond:.2f} s; from "
        f"nothing to the first feature {began['cold']:.2f} s"
    )
    assert beyond < 0.3
