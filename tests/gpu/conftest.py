"""A GPU, or a reason to skip."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from c2vl.training.device import worker_device
from tests.training.conftest import experiment  # noqa: F401


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """The first GPU, set up as a worker's; what a test changes for its process is undone."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU is visible to PyTorch")
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32
    yield worker_device(1)
    matmul.allow_tf32, convolution.allow_tf32 = before
    torch.cuda.set_sync_debug_mode("default")
