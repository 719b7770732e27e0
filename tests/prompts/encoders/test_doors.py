"""Encoders that others bring: by a Python file, by name, and to processes of their own."""

from __future__ import annotations

import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from c2vl.commands.prompts import prompts
from c2vl.prompts.encoders import (
    DEFAULT,
    open_image_encoder,
    open_text_encoder,
    text_encoder_of,
)
from c2vl.prompts.encoders.feature_cache import FeatureCache
from c2vl.prompts.table import ConceptTable
from c2vl.registry import names
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError

MINE = """
import numpy as np
from c2vl.registry import register

class Lengths:
    def __init__(self, model, long="split"):
        self.identity = f"{NAME}:{model}@1" if model else f"{NAME}@1"
        self.scale = float(model or 1)

    def encode(self, items, *, progress=None):
        rows = np.array([[len(item), self.scale, 1.0] for item in items], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

NAME = "lengths"
register("text_encoder", NAME, Lengths)
register("image_encoder", NAME, Lengths)
register("text_encoder", "broken", lambda model, long: Broken(model))

class Broken(Lengths):
    def encode(self, items, *, progress=None):
        return np.zeros((len(items), 3), np.float32)
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("parts") / "my_encoders.py"
    path.write_text(MINE)
    return str(path)


def test_ours_are_registered_as_others() -> None:
    assert names("text_encoder")[:2] == [DEFAULT, "transformers"]
    assert names("image_encoder")[0] == "transformers"


def test_a_table_by_an_encoder_of_ones_own(mine: str, demo_store: Store, tmp_path: Path) -> None:
    words = ["kinematic", str(demo_store.path), str(tmp_path / "t"), "--windows", "2"]
    words += ["--encoder", "lengths:4", "--imports", mine]
    result = CliRunner().invoke(prompts, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    table = ConceptTable.open(tmp_path / "t")
    assert table.manifest["model"] == "lengths:4@1" and table.dim == 3
    text = table.texts()["text"].iloc[0]
    stored = np.asarray(table.features[0, 0], np.float32)  # of float16, as tables keep unit rows
    np.testing.assert_allclose(stored[0] / stored[2], len(text), rtol=1e-3)
    found = text_encoder_of("lengths:4@1")  # zero-shot opens it again by what the table records
    np.testing.assert_allclose(found.encode([text])[0], stored, rtol=1e-3)
    assert open_image_encoder("lengths", imports=[mine]).identity == "lengths@1"
    with pytest.raises(UserError, match="made with lengths@0, and lengths@1"):
        text_encoder_of("lengths@0")


def test_a_process_of_its_own_finds_it(mine: str, tmp_path: Path) -> None:
    """Ray's actors get what opens the encoder, and not the encoder."""
    opening = partial(open_text_encoder, "lengths", imports=(mine,))
    (tmp_path / "opening.pkl").write_bytes(pickle.dumps(opening))
    pickled = str(tmp_path / "opening.pkl")
    program = f"import pickle; print(pickle.load(open({pickled!r}, 'rb'))().identity)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "lengths@1\n", done.stderr


def test_mistakes_name_the_encoder(mine: str, tmp_path: Path) -> None:
    broken = open_text_encoder("broken", imports=[mine])
    with pytest.raises(UserError, match=r"lengths@1: encode returned .* each row of norm 1"):
        FeatureCache(tmp_path, broken.identity).features(["a"], broken)
    with pytest.raises(UserError, match="lenghts: no such folder"):
        open_text_encoder("lenghts", imports=[mine])
    with pytest.raises(UserError, match=r"imports: nowhere\.py: cannot be imported"):
        open_text_encoder("lengths", imports=["nowhere.py"])
