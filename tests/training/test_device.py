"""Devices and formats, with GPUs that are only said to be there; tests/gpu has the real ones."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from c2vl.config.experiment import TrainSettings
from c2vl.skeletons.layout import get_layout
from c2vl.support.errors import TrainingError, UserError
from c2vl.training.beforehand import require_data
from c2vl.training.device import precision, told_plainly, worker_device
from c2vl.training.launch import fit
from c2vl.training.learner import Learner
from c2vl.training.loop import Session, train
from c2vl.training.run_folder import RunFolder

GPU = torch.device("cuda", 0)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """A machine with GPUs, and those that were made current."""
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return chosen


@pytest.mark.parametrize(
    ("assigned", "visible", "index"),
    [((), None, 0), ((3,), None, 3), (("3",), "2,3", 1), (("GPU-ab",), "GPU-cd,GPU-ab", 1)],
)
def test_a_worker_uses_the_gpu_that_it_was_given(
    gpus: list[torch.device],
    monkeypatch: pytest.MonkeyPatch,
    assigned: tuple[Any, ...],
    visible: str | None,
    index: int,
) -> None:
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert worker_device(1, assigned) == torch.device("cuda", index)
    assert gpus == [torch.device("cuda", index)]
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_without_a_gpu() -> None:
    assert worker_device(0) == torch.device("cpu")
    with pytest.raises(UserError, match="no GPU is visible here; set it to 0"):
        worker_device(1)
    with pytest.raises(ValidationError, match="one worker uses one GPU"):
        TrainSettings(gpus_per_worker=2)


@pytest.mark.parametrize(
    ("wanted", "capability", "name"),
    [("auto", (9, 0), "tf32"), ("auto", (7, 5), "fp32"), ("fp32", (9, 0), "fp32"),
     ("bf16", (8, 0), "bf16"), ("fp16", (7, 0), "fp16"), ("bf16", (7, 5), None),
     ("tf32", (7, 0), None)],
)  # fmt: skip
def test_formats_of_a_gpu(
    monkeypatch: pytest.MonkeyPatch, wanted: Any, capability: tuple[int, int], name: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "an older GPU")
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32
    try:
        if name is None:
            with pytest.raises(UserError, match=f"an older GPU lacks {wanted}, which needs"):
                precision(wanted, GPU)
            return
        assert precision(wanted, GPU).name == name
        assert matmul.allow_tf32 == convolution.allow_tf32 == (name == "tf32")
    finally:
        matmul.allow_tf32, convolution.allow_tf32 = before


def test_formats_of_a_cpu() -> None:
    cpu = torch.device("cpu")
    assert precision("auto", cpu).name == "fp32"
    with pytest.raises(UserError, match="tf32 is a format of GPUs"):
        precision("tf32", cpu)


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to"), TrainingError, "train.accumulate"),
        (RuntimeError("CUDA error: no kernel image is available"), UserError, "pytorch.org"),
        (RuntimeError("CUDA error: device-side assert triggered"), TrainingError, "LAUNCH_BLOCK"),
        (RuntimeError("NCCL: Duplicate GPU detected : rank 1"), UserError, "train.workers"),
        (RuntimeError("Expected to have finished reduction in the prior iteration"), UserError,
         "requires_grad_"),
        (torch._dynamo.exc.InternalTorchDynamoError("no compiler"), UserError, "train.compile"),
    ],
)  # fmt: skip
def test_errors_of_a_device_have_remedies(error: Exception, kind: type, told: str) -> None:
    with pytest.raises(kind, match=told) as caught, told_plainly("run", GPU):
        raise error
    assert caught.value.__suppress_context__


def test_other_errors_pass() -> None:
    for error in (RuntimeError("Connection closed by peer"), TrainingError("out of memory")):
        with pytest.raises(type(error)) as caught, told_plainly("run", GPU):
            raise error
        assert caught.value is error


def test_batch_norms_of_workers_with_gpus_share_their_statistics(
    experiment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the averaged teacher too."""
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr(nn.Module, "to", lambda self, *_, **__: self)
    monkeypatch.setattr("c2vl.training.learner.DistributedDataParallel", lambda model, **_: model)
    monkeypatch.setattr("c2vl.training.learner.precision", lambda *_: None)
    settings = experiment(train__ema=0.9, train__workers=2)
    made = Learner(settings, get_layout("kinect20"), {"language": 4}, 3, 9, GPU)
    for model in (made.student, made.average):
        assert isinstance(model.encoder.norm_data, nn.SyncBatchNorm)  # type: ignore[union-attr]


def test_a_start_says_what_it_does(
    experiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    settings = experiment(train__precision="bf16")
    train(settings, Session(RunFolder(tmp_path / "run"), report=lambda _: None))
    where, size, length, unused, pace = RunFolder(tmp_path / "run").said()
    assert "CPU, 1 thread(s), bf16" in where
    assert "weights" in size and "GFLOP a sequence" in size
    assert "steps of 8, 3 epochs" in length
    assert "set train.gpus_per_worker=1 to use it" in unused
    assert pace.startswith("an epoch takes about")


def test_a_start_says_that_captions_of_rules_6_should_all_be_used(
    experiment: Any, language: Path, tmp_path: Path
) -> None:
    table = Path(shutil.copytree(language, tmp_path / "table"))
    manifest = json.loads((table / "manifest.json").read_text())
    every = manifest["counts"]["prompts_per_sequence"]
    advice = "use all of them with prompts.per_sample=0"

    def drawing(prompts: int) -> Any:
        given = {"prompts__language": str(table), "prompts__per_sample": prompts}
        return experiment(**given, train__epochs=1)

    assert advice not in require_data(drawing(every - 1))
    manifest["settings"] = {"rules": 6}
    (table / "manifest.json").write_text(json.dumps(manifest))
    assert advice not in require_data(drawing(every)) and advice not in require_data(drawing(0))
    assert advice in require_data(drawing(every - 1))
    train(drawing(every - 1), Session(RunFolder(tmp_path / "run"), report=lambda _: None))
    assert any(advice in line for line in RunFolder(tmp_path / "run").said())


def test_a_compiled_network_is_the_same(
    experiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled without kernels of its own, since those take a minute; see tests/gpu."""
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call: compiled(call, backend="eager"))
    for name, compile_ in (("plain", False), ("compiled", True)):
        settings = experiment(train__epochs=1, train__compile=compile_)
        fit(settings, tmp_path / name, name=name)
    a, b = (
        (tmp_path / name / "encoder" / "encoder.safetensors").read_bytes()
        for name in ("plain", "compiled")
    )
    assert a == b

    def broken(*_: Any) -> Any:
        raise OSError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", lambda call: compiled(call, backend=broken))
    with pytest.raises(UserError, match=r"train\.compile: the network does not compile here"):
        fit(experiment(train__compile=True), tmp_path / "broken", name="broken")
