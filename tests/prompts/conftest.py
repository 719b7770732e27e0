"""Tiny text encoders with random weights, saved as files and loaded by the real path."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

WORDS = [
    "the",
    "left",
    "right",
    "hand",
    "goes",
    "up",
    "down",
    "and",
    "a",
    "body",
    "stands",
    "squats",
    "fast",
    "slowly",
    ".",
    ",",
]


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence encoder's folder: BERT, mean pooling, 12 tokens at most."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    folder.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    words = {word: number for number, word in enumerate(vocabulary)}
    BertTokenizerFast(vocab=words, model_max_length=32).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    modules = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_N", "Normalize")]
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": int(name), "path": path, "type": f"sentence_transformers.models.{kind}"}
                for name, path, kind in modules
            ]
        )
    )
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
    pooling = folder / "1_Pooling"
    pooling.mkdir()
    (pooling / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return folder


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP's folder (image tower included)."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "tiny-clip"
    folder.mkdir()
    letters = sorted(set("".join(WORDS)))
    pieces = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    words = {piece: number for number, piece in enumerate(pieces)}
    CLIPTokenizerFast(vocab=words, merges=[], model_max_length=77).save_pretrained(folder)
    torch.manual_seed(0)
    text = {
        "vocab_size": len(pieces),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 24,
        "bos_token_id": words["<|startoftext|>"],
        "eos_token_id": words["<|endoftext|>"],
        "pad_token_id": words["<|endoftext|>"],
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 8,
        "patch_size": 4,
    }
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
    CLIPModel(config).save_pretrained(folder)
    size = {"height": 8, "width": 8}
    CLIPImageProcessor(size={"shortest_edge": 8}, crop_size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_siglip(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole SigLIP's folder, with a word-piece tokenizer."""
    import torch
    from transformers import AutoTokenizer, SiglipConfig, SiglipImageProcessor, SiglipModel

    folder = tmp_path_factory.mktemp("models") / "tiny-siglip"
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    shape = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = shape | {"vocab_size": len(tokenizer), "max_position_embeddings": 24}
    vision = shape | {"image_size": 8, "patch_size": 4}
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 8, "width": 8}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_llava(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image-text-to-text model: CLIP's tower, a Llama, LLaVA's processor and a chat template."""
    import torch
    from transformers import (
        AutoTokenizer,
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    folder = tmp_path_factory.mktemp("models") / "tiny-llava"
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert, model_max_length=512)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"], "eos_token": "</s>"})
    template = (
        "{% for m in messages %}{% for c in m['content'] %}"
        "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}"
        "{% endfor %}{% endfor %}{% if add_generation_prompt %} . {% endif %}"
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}
        ),
        tokenizer=tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    processor.save_pretrained(folder)
    torch.manual_seed(1)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.cls_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=image)
    model = LlavaForConditionalGeneration(config)
    model.generation_config.forced_eos_token_id = tokenizer.eos_token_id  # else it never ends
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_owl(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zero-shot detector: OWLv2 with the CLIP fixture's tokenizer."""
    import torch
    from transformers import (
        AutoTokenizer,
        Owlv2Config,
        Owlv2ForObjectDetection,
        Owlv2ImageProcessor,
        Owlv2Processor,
    )

    folder = tmp_path_factory.mktemp("models") / "tiny-owl"
    tokenizer = AutoTokenizer.from_pretrained(tiny_clip)
    tokenizer.model_max_length = 16
    size = {"height": 32, "width": 32}
    Owlv2Processor(Owlv2ImageProcessor(size=size), tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    text = shape | {
        "vocab_size": len(tokenizer),
        "num_hidden_layers": 1,
        "max_position_embeddings": 16,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = shape | {"num_hidden_layers": 1, "image_size": 32, "patch_size": 8}
    config = Owlv2Config(text_config=text, vision_config=vision, projection_dim=16)
    model = Owlv2ForObjectDetection(config)
    # Untrained heads give boxes of no height and scores of one; at zero they give their priors.
    for layer in (
        model.box_head.dense2,
        model.class_head.logit_scale,
        model.class_head.logit_shift,
    ):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    """Write a video whose frame ``i`` shows ``i`` as grey, with a bright square that moves."""
    import av

    def make(
        path: Path, *, frames: int = 20, rate: int = 10, size: tuple[int, int] = (64, 48)
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        codec = "mpeg4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.bit_rate = 400_000
            for i in range(frames):
                picture = np.full((size[1], size[0], 3), 8 * i % 200, dtype=np.uint8)
                left = 2 * i % (size[0] - 16)
                picture[8:24, left : left + 16] = (255, 64, 32)
                for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
        return path

    return make
