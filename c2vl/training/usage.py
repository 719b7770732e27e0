"""What a training process takes of its machine, an epoch at a time."""

from __future__ import annotations

import time

import psutil
import torch


class Usage:
    """Processor, memory and GPU memory of this process since it was last asked.

    The names begin with ``system_``; tracking files them as MLflow's system metrics by that.

    Args:
        device: that training runs on.
    """

    def __init__(self, device: torch.device) -> None:
        self._process, self._device = psutil.Process(), device
        self._last = self._spent()

    def _spent(self) -> tuple[float, float]:
        times = self._process.cpu_times()
        return time.perf_counter(), times.user + times.system

    def figures(self) -> dict[str, float]:
        """Mean number of busy cores, resident memory and the peak of allocated GPU memory, MiB."""
        began, before = self._last
        self._last = now, spent = self._spent()
        figures = {
            "system_cpu_cores": (spent - before) / max(now - began, 1e-9),
            "system_memory_mib": self._process.memory_info().rss / 2**20,
        }
        if self._device.type == "cuda":
            figures["system_gpu_memory_mib"] = torch.cuda.max_memory_allocated(self._device) / 2**20
            torch.cuda.reset_peak_memory_stats(self._device)
        return figures
