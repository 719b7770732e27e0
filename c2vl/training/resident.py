"""Training data that lives on the device, and the way there of data that does not.

Shapes: n rows of a batch, M body slots, B bodies, T frames, V joints, C = (x, y, z).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from c2vl.skeletons.clips import Clips

_AT_ONCE = 1024  # bodies read from the disk and sent together


def sent(value: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; on its way to a GPU it passes pinned memory."""
    if device.type != "cuda" or value.is_cuda:
        return value.to(device)
    return value.pin_memory().to(device, non_blocking=True)


class ResidentClips:
    """The clips of some sequences in the memory of a device.

    Args:
        clips: of the whole store, on the disk.
        positions: (N,) of the sequences in the store.
        device: where they are kept.
    """

    def __init__(self, clips: Clips, positions: NDArray[np.int64], device: torch.device) -> None:
        count = clips.present[positions].sum(1)
        self._first = torch.from_numpy(np.cumsum(count) - count)
        # The bodies of a sequence stand together, there as here.
        wanted = np.repeat(clips.first[positions] - self._first.numpy(), count)
        wanted += np.arange(len(wanted))
        self._bodies_BTVC = torch.empty(len(wanted), *clips.bodies.shape[1:], device=device)
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            self._bodies_BTVC[start : start + len(part)] = torch.from_numpy(clips.bodies[part])

    def tensors(self, rows: Tensor, present_nM: Tensor) -> Tensor:
        """Return clips (n, M, T, V, 3) of some rows; absent bodies are zero.

        Args:
            rows: (n,) of the N.
            present_nM: their slots that hold a body. Both lie on the host.
        """
        n, M = present_nM.shape
        at_nM = (self._first[rows][:, None] + torch.arange(M)).where(present_nM, 0)
        device = self._bodies_BTVC.device
        x_STVC: Tensor = self._bodies_BTVC.index_select(0, sent(at_nM.flatten(), device))  # S = n·M
        if not bool(present_nM.all()):
            x_STVC = x_STVC * sent(present_nM.flatten(), device)[:, None, None, None]
        return x_STVC.view(n, M, *x_STVC.shape[1:])
