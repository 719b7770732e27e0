"""A dataset of somebody's own: the one of docs/datasets.md, as it stands there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from c2vl.commands.data import data
from c2vl.skeletons.datasets import get_reader
from c2vl.skeletons.preparing.prepare import prepare
from c2vl.skeletons.splits import split
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError

PAGE = Path(__file__).parents[3] / "docs" / "datasets.md"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_parts_go: None) -> Path:
    """The file of the page; what it registers is forgotten at the end."""
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    code = [line for line in source.splitlines() if line.strip()]
    assert len(code) < 40
    (tmp_path / "my_parts.py").write_text(source, encoding="utf-8")
    (tmp_path / "raw").mkdir()
    for name, text in (
        ("wave_1.txt", "0 .1 .2 .3 .4 .5\r\n" * 3),
        ("clap_2.txt", "0 .1 .2 .3 .4 .6\n"),
        ("clap_3.txt", "0 1 2 3 4\n"),
    ):
        (tmp_path / "raw" / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_reader_of_the_page_works(toy: Path) -> None:
    words = ["prepare", "toy", "raw", "store", "--imports", "my_parts.py", "--max-rejected", "1"]
    result = CliRunner().invoke(data, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "2 sequences of Toy" in result.output and "1 rejected" in result.output
    store = Store.open(toy / "store")
    listed = (store.data / "rejected.csv").read_text()
    assert "5 numbers, expected 6 a frame" in listed
    assert list(store.index["id"]) == ["clap_2", "wave_1"]
    expected = np.tile(np.arange(6).reshape(2, 3) / 10, (1, 3, 1, 1))
    assert np.allclose(store.joints(1), expected)
    assert split(store.index, "loso:1").test.tolist() == [1]


def test_reading_processes_import_it_too(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("c2vl.skeletons.preparing.chunks._ITEMS", 1)
    imports = [str(toy / "my_parts.py")]
    prepared = prepare("toy", toy / "raw", toy / "store", jobs=2, max_rejected=1, imports=imports)
    assert list(prepared.store.index["id"]) == ["clap_2", "wave_1"]


def test_mistakes_are_named(toy: Path) -> None:
    with pytest.raises(UserError, match=r"toy: no such dataset; .*`imports`"):
        get_reader("toy")
    with pytest.raises(UserError, match=r"imports: absent\.py: cannot be imported here"):
        prepare("toy", toy / "raw", toy / "store", imports=["absent.py"])
    code = 'from c2vl.registry import register\nregister("dataset", "no", int)\n'
    (toy / "no.py").write_text(textwrap.dedent(code))
    with pytest.raises(UserError, match=r"dataset no: no_\w+ registered a type; register a"):
        prepare("no", toy / "raw", toy / "store", imports=["no.py"])
