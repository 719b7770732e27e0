"""The device of a training: which one, its number format, and its errors in plain words.

Whoever starts a worker calls :func:`worker_device` before anything uses CUDA; the loop asks for the
:class:`Precision`. What each setting promises stands in docs/gpu.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch

from c2vl.config.experiment import Format
from c2vl.support.errors import TrainingError, UserError, first_line

_REDUCED = {"bf16": torch.bfloat16, "fp16": torch.float16}


def worker_device(gpus: float, assigned: Sequence[int | str] = ()) -> torch.device:
    """Return the device of a worker, and make it the current one of this process.

    Args:
        gpus: that the worker asked for.
        assigned: the GPUs that Ray gave the worker (``ray.get_gpu_ids()``); of several that are
            visible it uses the first of these, or the first of all where Ray started no worker.

    Raises:
        UserError: it asked for a GPU, and none is visible.
    """
    # cuBLAS reads it once, when CUDA starts; without it its products differ from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if not gpus:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError("gpus_per_worker: no GPU is visible here; set it to 0")
    device = torch.device("cuda", _index(assigned, os.environ.get("CUDA_VISIBLE_DEVICES")))
    torch.cuda.set_device(device)
    return device


def _index(assigned: Sequence[int | str], visible: str | None) -> int:
    """Return the number, among those visible, of the first GPU that a worker was assigned."""
    if not assigned:
        return 0
    if visible is None:
        return int(assigned[0])
    return [name.strip() for name in visible.split(",")].index(str(assigned[0]))


@dataclass(frozen=True)
class Precision:
    """The number format of a network's products; parameters stay in float32.

    Attributes:
        name: fp32, tf32, bf16 or fp16.
        device: where the products are computed.
    """

    name: str = "fp32"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def autocast(self) -> AbstractContextManager[None]:
        """Return a block in which a network computes in this format."""
        if self.name not in _REDUCED:
            return nullcontext()
        return torch.autocast(self.device.type, _REDUCED[self.name])

    def scaler(self) -> torch.amp.GradScaler:
        """Return what keeps small gradients of fp16 above zero; otherwise it does nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def precision(wanted: Format, device: torch.device) -> Precision:
    """Return the format to compute in, and set up this process for it.

    ``auto`` is fp32 on a CPU and tf32 on a GPU that has it (compute capability 8.0 on): cuDNN's
    convolutions use TF32 unless told otherwise, so it is what published results were trained with.

    Raises:
        UserError: the device lacks the format.
    """
    if device.type != "cuda":
        if wanted == "tf32":
            raise UserError("precision: tf32 is a format of GPUs; set it to auto, fp32 or bf16")
        return Precision("fp32" if wanted == "auto" else wanted, device)
    recent = torch.cuda.get_device_capability(device) >= (8, 0)
    name = wanted if wanted != "auto" else "tf32" if recent else "fp32"
    if name in ("tf32", "bf16") and not recent:
        raise UserError(
            f"precision: {torch.cuda.get_device_name(device)} lacks {name}, which needs "
            "compute capability 8.0; set it to fp16 or fp32"
        )
    # Not by `fp32_precision`, its newer name: the compiler of PyTorch 2.13 refuses to read the
    # older one, as it does, where only the newer was set.
    torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    torch.backends.cudnn.allow_tf32 = name == "tf32"
    return Precision(name, device)


_LESS_MEMORY = "lower train.batch_size or data.frames, raise train.accumulate, or use more workers"
_ANOTHER_TORCH = "install a build of PyTorch for this GPU and driver (pytorch.org, Get started)"
# What an error's message says → whether the user can put it right, what happened, the remedy
_KNOWN: Sequence[tuple[str, type[UserError | TrainingError], str, str]] = (
    (r"out of memory|CUBLAS_STATUS_ALLOC_FAILED|DefaultCPUAllocator: (can't|not enough)",
     TrainingError, "no memory left", _LESS_MEMORY),
    (r"no kernel image is available", UserError, "this PyTorch has no kernels for the GPU",
     _ANOTHER_TORCH),
    (r"driver version is insufficient|driver on your system is too old", UserError,
     "the driver is too old for this PyTorch", "update it, or " + _ANOTHER_TORCH),
    (r"Duplicate GPU detected", UserError, "two workers have the same GPU",
     "set train.workers to the number of GPUs, and train.gpus_per_worker to 1"),
    (r"device-side assert", TrainingError, "an index was out of range in a kernel",
     "start it again with CUDA_LAUNCH_BLOCKING=1 in the environment, which names the operation"),
    (r"Expected to have finished reduction in the prior iteration", UserError,
     "the objective gives some parameters no gradient",
     "several workers need one of each: freeze those that are unused (requires_grad_(False))"),
)  # fmt: skip


@contextmanager
def told_plainly(name: str, device: torch.device) -> Iterator[None]:
    """Convert known errors of a device and of the compiler to messages with a remedy.

    Args:
        name: of the run.
        device: that it uses.

    Raises:
        UserError: the machine or the settings must change.
        TrainingError: a retry will not help. Errors that are in neither list pass unchanged: a
            broken link or a lost GPU is one that another start may not meet.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, TrainingError):
            raise
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise UserError(
                f"train.compile: the network does not compile here ({first_line(error)}); set it "
                "to false, or install a C++ compiler if none was found"
            ) from None
        for pattern, kind, what, remedy in _KNOWN:
            if re.search(pattern, str(error)):
                raise kind(f"{name}: {what} on {device}; {remedy} ({first_line(error)})") from None
        raise
