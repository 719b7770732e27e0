"""Exports the network to ONNX, torch.export or AOTInductor, each with the card.

The exported network takes preprocessed clips (N, M, T, V, 3) and presence of bodies (N, M), and
contains stream and pooling. N sequences and M bodies are dynamic; T frames in ONNX too, elsewhere
the card's number (torch.export would allow only multiples of four). V joints, F features.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from c2vl.encoder.artefact import README
from c2vl.encoder.card import CARD, FORMAT, VERSION, describe
from c2vl.encoder.ledger import replacing_encoder
from c2vl.encoder.network import Encoder
from c2vl.skeletons.streams import to_stream
from c2vl.support.errors import UserError
from c2vl.support.extras import require_extra

FILES = {"onnx": "encoder.onnx", "torch-export": "encoder.pt2", "aot-inductor": "encoder.pt2"}
TOLERANCE = 1e-4
TRIED = ((1, 1, 8), (3, 2, 50), (2, 1, 33))  # batch, bodies, frames (where they are dynamic)


class Portable(nn.Module):
    """Stream, network and pooling as one graph without data-dependent shapes.

    It computes absent bodies too and weights them by 0, so M should be as small as possible.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.model = encoder.model
        self.frames = int(encoder.card["preprocessing"]["frames"])
        self._stream, self._layout = str(encoder.card["stream"]), encoder.layout

    def forward(self, clips: Tensor, present: Tensor) -> Tensor:
        """Return features (N, F) of clips (N, M, T, V, 3) with presence (N, M), floats 0 or 1."""
        batch, bodies = clips.shape[:2]
        x_NMTVC = to_stream(clips, self._stream, self._layout)
        each_NMF = self.model.bodies(x_NMTVC.flatten(0, 1)).view(batch, bodies, self.model.feature)
        weight_NM1 = present.unsqueeze(-1)
        return (each_NMF * weight_NM1).sum(1) / weight_NM1.sum(1).clamp_min(1.0)


def save(encoder: Encoder, folder: Path, kind: str) -> None:
    """Write a folder with the exported network and the card, all of it or nothing.

    Before the folder gets its name, the exported network is loaded and compared with PyTorch's on
    several batches and lengths.

    Args:
        kind: "onnx", "torch-export" or "aot-inductor".

    Raises:
        UserError: a package or compiler that the format needs is missing.
    """
    with replacing_encoder(folder) as partial:
        path = partial / FILES[kind]
        network = Portable(encoder.to("cpu")).eval()
        with _quiet():
            _WRITERS[kind](network, path)
            worst = _difference(network, path, kind)
        if worst > TOLERANCE:
            raise RuntimeError(f"{kind}: features differ by {worst:.1e} from PyTorch's")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        card = {
            **encoder.card,
            "format": FORMAT,
            "version": VERSION,
            "feature_size": encoder.feature_size,
            "weights_sha256": encoder.card.get("weights_sha256", encoder.digest),
            "network": {"format": kind, "file": path.name, "sha256": digest},
        }
        usage = f"\nThe network for {kind}:\n\n```python\n{_USAGE[kind]}\n```\n"
        (partial / CARD).write_text(json.dumps(card, indent=2), encoding="utf-8")
        (partial / README).write_text(describe(card) + usage, encoding="utf-8")


def _example(network: Portable, batch: int, bodies: int, frames: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(batch * 1000 + frames)
    present = torch.ones(batch, bodies)
    present[0, 1:] = 0
    clips = torch.randn(batch, bodies, frames, network.model.joints, 3, generator=draw)
    return clips * present[:, :, None, None, None], present


def _shapes(*, frames: bool) -> dict[str, Any]:
    dim = torch.export.Dim
    fixed = {0: dim("batch"), 1: dim("bodies")}
    return {"clips": {**fixed, 2: dim("frames", min=2)} if frames else fixed, "present": fixed}


def _program(network: Portable) -> torch.export.ExportedProgram:
    example = _example(network, 3, 2, network.frames)
    shapes = _shapes(frames=False)
    return torch.export.export(network, example, dynamic_shapes=shapes, strict=False)


def _write_onnx(network: Portable, path: Path) -> None:
    require_extra("onnx", "--format onnx")
    program = torch.onnx.export(
        network,
        _example(network, 3, 2, 40),
        dynamo=True,
        dynamic_shapes=_shapes(frames=True),
        input_names=["clips", "present"],
        output_names=["features"],
        external_data=False,
    )
    assert program is not None
    program.save(str(path), external_data=False)


def _write_export(network: Portable, path: Path) -> None:
    torch.export.save(_program(network), path)


def _write_inductor(network: Portable, path: Path) -> None:
    import torch._inductor

    if shutil.which("g++") is None and shutil.which("clang++") is None:
        raise UserError("--format aot-inductor: needs a C++ compiler (g++ or clang++) on the PATH")
    torch._inductor.aoti_compile_and_package(_program(network), package_path=str(path))


_WRITERS = {
    "onnx": _write_onnx,
    "torch-export": _write_export,
    "aot-inductor": _write_inductor,
}


@torch.inference_mode()
def _difference(network: Portable, path: Path, kind: str) -> float:
    """Return the largest difference from PyTorch's features, relative to the largest feature."""
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

        def run(clips: Tensor, present: Tensor) -> Any:
            feed = {"clips": clips.numpy(), "present": present.numpy()}
            return session.run(None, feed)[0]

    else:
        loaded: Any = (
            torch.export.load(path).module()
            if kind == "torch-export"
            else torch._inductor.aoti_load_package(str(path))
        )

        def run(clips: Tensor, present: Tensor) -> Any:
            return loaded(clips, present).numpy()

    worst = 0.0
    for batch, bodies, frames in TRIED:
        length = frames if kind == "onnx" else network.frames
        example = _example(network, batch, bodies, length)
        wanted = network(*example).numpy()
        scale = max(1.0, float(np.abs(wanted).max()))
        worst = max(worst, float(np.abs(run(*example) - wanted).max()) / scale)
    return worst


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' progress and warnings while the block runs."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


_USAGE = {
    "onnx": """from c2vl.encoder.onnx import load_onnx  # numpy and onnxruntime alone
features = load_onnx("this/folder").embed([joints])""",
    "torch-export": """network = torch.export.load("this/folder/encoder.pt2").module()
features = network(clips, present)  # after the card's preprocessing""",
    "aot-inductor": """network = torch._inductor.aoti_load_package("this/folder/encoder.pt2")
features = network(clips, present)  # after the card's preprocessing""",
}
