from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from c2vl.skeletons import datasets as readers
from c2vl.skeletons.preparing.prepare import prepare
from c2vl.skeletons.splits import split

PAGE = Path(__file__).parents[3] / "docs" / "datasets.md"


def test_the_reader_of_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "toy_reader.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    toy = importlib.import_module("toy_reader").TOY
    monkeypatch.setitem(readers.READERS, "toy", toy)
    (tmp_path / "raw").mkdir()
    for name, text in (
        ("wave_1.txt", "0 1 2 3 4 5\r\n" * 3),
        ("clap_2.txt", "0 1 2 3 4 6\n"),
        ("clap_3.txt", "0 1 2 3 4\n"),
    ):
        (tmp_path / "raw" / name).write_text(text)
    prepared = prepare("toy", tmp_path / "raw", tmp_path / "store", max_rejected=1)
    assert [one.reason for one in prepared.rejected] == ["5 numbers, expected 6 a frame"]
    assert list(prepared.store.index["id"]) == ["clap_2", "wave_1"]
    expected = np.tile(np.arange(6, dtype=np.float32).reshape(2, 3), (1, 3, 1, 1))
    assert np.array_equal(prepared.store.joints(1), expected)
    assert split(prepared.store.index, "loso:1").test.tolist() == [1]
    del sys.modules["toy_reader"]
