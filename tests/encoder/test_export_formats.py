"""The encoder in other forms: ONNX, torch.export, the Hub's layout; each gives the same numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from c2vl.encoder import Encoder, load_encoder
from c2vl.encoder.export_formats import save as save_as
from c2vl.encoder.hub import push_folder, save_hub
from c2vl.encoder.onnx import load_onnx
from c2vl.skeletons.conversion import convert
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from tests.encoder.small import sequences, small
from tests.poison import run_without


@pytest.fixture(scope="module")
def as_onnx(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, Path]:
    """An encoder for the joints of Kinect v1, and what was exported of it; that takes a while."""
    encoder = small("motion", frames=20, joints="kinect20")
    for importance in encoder.model.importance:
        importance.data.uniform_(0.5, 1.5)
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    save_as(encoder, folder, "onnx")
    return encoder, folder


def test_onnx_agrees(as_onnx: tuple[Encoder, Path], demo_store: Store, tmp_path: Path) -> None:
    """One and two bodies of many lengths, in batches of several sizes."""
    encoder, folder = as_onnx
    loaded = load_onnx(folder, threads=1)
    some = [np.array(demo_store.joints(at)) for at in range(0, len(demo_store), 9)]
    some = [convert(joints, demo_store.layout, encoder.layout) for joints in some]
    assert {len(joints) for joints in some} == {1, 2}
    wanted = encoder.embed(some)
    for size in (1, 5, 64):
        found = loaded.embed(some, batch_size=size)
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    with pytest.raises(UserError, match="sequence 0"):
        loaded.embed([np.zeros((3, 25, 3))])
    copy = shutil.copytree(folder, tmp_path / "onnx")
    path = copy / "encoder.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="altered or cut short"):
        load_onnx(copy)


def test_onnx_agrees_on_every_real_capture(as_onnx: tuple[Encoder, Path], utd_store: Store) -> None:
    encoder, folder = as_onnx
    real = [np.array(utd_store.joints(at)) for at in range(len(utd_store))]
    wanted = encoder.embed(real)
    assert len(wanted) == 861
    found = load_onnx(folder, threads=1).embed(real)
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_onnx_needs_no_torch(as_onnx: tuple[Encoder, Path], tmp_path: Path) -> None:
    encoder, folder = as_onnx
    np.save(tmp_path / "joints.npy", sequences(20)[1])
    program = f"""
import numpy
from c2vl.encoder.onnx import load_onnx
numpy.save({str(tmp_path / "out.npy")!r}, load_onnx({str(folder)!r}).embed(
    [numpy.load({str(tmp_path / "joints.npy")!r})]))
"""
    done = run_without({"torch", "safetensors", "pandas", "ray"}, program)
    assert done.returncode == 0, done.stderr
    wanted = encoder.embed([sequences(20)[1]])
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), wanted, atol=1e-4)


def test_torch_export_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("c2vl.encoder.export_formats._difference", lambda *_: 0.0)  # compared below
    save_as(small("bone"), tmp_path / "pt2", "torch-export")
    card = json.loads((tmp_path / "pt2" / "encoder.json").read_text())
    network = torch.export.load(tmp_path / "pt2" / card["network"]["file"]).module()
    x = torch.randn(5, 2, 16, 25, 3)
    present = torch.tensor([[1.0, 1.0]] * 4 + [[1.0, 0.0]])
    wanted = small("bone").embed_clips(x, present.bool())
    np.testing.assert_allclose(network(x, present).detach().numpy(), wanted, atol=1e-4)


@pytest.mark.slow
def test_aot_inductor_agrees(tmp_path: Path) -> None:
    save_as(small(), tmp_path / "aoti", "aot-inductor")
    assert (tmp_path / "aoti" / "encoder.pt2").stat().st_size > 1000


class Api:
    """Stands for the Hub's client: a repository is a local folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create_repo(self, name: str, exist_ok: bool) -> None:
        (self.root / name).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, repo_id: str, folder_path: str) -> str:
        return str(shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True))


def test_the_hubs_layout_round_trips(tmp_path: Path) -> None:
    encoder = small()
    save_hub(encoder, tmp_path / "hub")
    assert push_folder(tmp_path / "hub", "owner/name", Api(tmp_path)) == str(
        tmp_path / "owner/name"
    )
    loaded = load_encoder(tmp_path / "owner/name")
    assert np.array_equal(loaded.embed(sequences()), encoder.embed(sequences()))
    assert "language" in loaded.concepts
    names = {path.name for path in (tmp_path / "hub").iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md", "concepts.safetensors"}
    assert (tmp_path / "hub" / "README.md").read_text().startswith("---\nlibrary_name: c2vl")
    for wrong in ("name", "a/b/c"):
        with pytest.raises(UserError, match="expected owner/name"):
            push_folder(tmp_path / "hub", wrong, Api(tmp_path))

    class Offline(Api):
        def upload_folder(self, repo_id: str, folder_path: str) -> str:
            raise ConnectionError("no route")

    with pytest.raises(UserError, match=r"did not take it .*no route"):
        push_folder(tmp_path / "hub", "owner/name", Offline(tmp_path))
