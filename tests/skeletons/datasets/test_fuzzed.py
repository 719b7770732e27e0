"""A short round of ``python -m tests.skeletons.fuzz_readers``."""

from __future__ import annotations

import random

import pytest

from tests.skeletons.damages import DAMAGES, damage
from tests.skeletons.datasets.cases import CASES
from tests.skeletons.fuzz_readers import fuzz


@pytest.mark.parametrize("reader", sorted({case.reader for case in CASES}))
def test_damaged_datasets_are_read_or_rejected(reader: str) -> None:
    outcome = fuzz(reader, 120, seed=1)
    assert not outcome.crashed, outcome.crashes[0]
    assert outcome.inputs == 120 and outcome.read and outcome.rejected


def test_damage_is_damage() -> None:
    content = b"first 1.5 line\nsecond -2.25 line\nthird 3 line\n"
    for kind in DAMAGES:
        changed = {kind(content, random.Random(seed)) for seed in range(20)}
        assert len(changed - {content}) > 5, kind.__name__
    assert damage(content, random.Random(3)) == damage(content, random.Random(3))
