"""Captions that others wrote: every format, what is missing or wrong in them, and the join."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from c2vl.commands.prompts import prompts
from c2vl.prompts import captions_file
from c2vl.prompts.imported_captions import import_captions
from c2vl.prompts.table import ConceptTable
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from tests.conftest import _data
from tests.prompts.test_table import Letters

GOOD = {"s1": ["he stands", "he sits"], "s2": ["she waves", "she waves"], "s3": ["a", "b"]}


def as_json(path: Path, captions: dict[str, list[str]]) -> Path:
    path.with_suffix(".json").write_text(json.dumps(captions))
    return path.with_suffix(".json")


def as_zip(path: Path, captions: dict[str, list[str]]) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        archive.writestr("captions.json", json.dumps(captions))
    return path.with_suffix(".zip")


def rows(captions: dict[str, list[str]]) -> pd.DataFrame:
    flat = [(name, i, text) for name, row in captions.items() for i, text in enumerate(row)]
    table = pd.DataFrame(flat, columns=["id", "prompt", "text"])
    return table.sample(frac=1, random_state=0)  # the column prompt orders them


def as_csv(path: Path, captions: dict[str, list[str]]) -> Path:
    rows(captions).to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".csv")


def as_parquet(path: Path, captions: dict[str, list[str]]) -> Path:
    rows(captions).to_parquet(path.with_suffix(".parquet"), index=False)
    return path.with_suffix(".parquet")


Write = Callable[[Path, dict[str, list[str]]], Path]


@pytest.mark.parametrize("write", [as_json, as_zip, as_csv, as_parquet])
def test_every_format_gives_the_same_captions(write: Write, tmp_path: Path) -> None:
    assert captions_file.read(write(tmp_path / "c", GOOD)) == GOOD


def test_a_file_with_missing_prompts(tmp_path: Path) -> None:
    source = as_json(
        tmp_path / "c", GOOD | {"few": ["a"], "many": ["a", "b", "c"], "gap": ["a", " "], "no": []}
    )
    made = import_captions(source, tmp_path / "t", Letters())
    assert made.table.ids == ["s1", "s2", "s3"]
    listed = pd.read_csv(tmp_path / "t" / "rejected.csv").set_index("id")["reason"].to_dict()
    assert listed == {
        "few": "1 of 2 captions",
        "many": "3 captions, expected 2",
        "gap": "1 of 2 captions (1 empty)",
        "no": "no caption",
    }
    # Repeating fills what can be filled; and the repaired file completes the table.
    even = captions_file.even(captions_file.read(source), short="repeat")
    assert even.texts["few"] == ["a", "a"] and even.filled == 2
    repaired = as_json(tmp_path / "c", GOOD | {"few": ["a", "b"]})
    with pytest.raises(UserError, match="--overwrite"):
        import_captions(repaired, tmp_path / "t", Letters())
    made = import_captions(repaired, tmp_path / "t", Letters(), overwrite=True)
    assert "few" in made.table.ids and not (tmp_path / "t" / "rejected.csv").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.json", b"{", "cannot be read as json"),
        ("c.json", b"[1]", "expected"),
        ("c.json", b'{"a": [1]}', "a: expected a list of captions"),
        ("c.json", b'{"a": ["x"], "a": ["y"]}', "a occurs twice"),
        ("c.zip", b"PK", "cannot be read as zip"),
        ("c.csv", b"name,text\na,b\n", "no column id"),
        ("c.csv", b"id;text\na;b, c\n", "line 1: .* separate columns by commas"),
        ("c.csv", b"id,text\na,caf\xe9\n", "line 2: not UTF-8 text; save it as UTF-8"),
        ("c.json", b'{"a": ["caf\xe9"]}', "line 1: not UTF-8 text; save it as UTF-8"),
        ("c.csv", b"id,prompt,text\na,0,x\na,0,y\n", "a: prompt 0 occurs twice"),
        ("c.csv", b"id,prompt,text\na,first,x\n", "whole numbers"),
        ("c.parquet", b"PAR1", "cannot be read as parquet"),
        ("c.txt", b"", "are read from"),
    ],
)
def test_a_broken_file_is_one_message(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        captions_file.read(tmp_path / name)


@given(st.dictionaries(st.text(min_size=1), st.lists(st.text(), max_size=5), max_size=8))
def test_no_sequence_is_lost_silently(captions: dict[str, list[str]]) -> None:
    try:
        even = captions_file.even(captions)
    except UserError:
        return  # nothing is left, and the message says so
    assert even.texts.keys() | {name for name, _ in even.rejected} == captions.keys()
    assert len({len(row) for row in even.texts.values()}) == 1


def test_wrong_ids_are_named_and_the_rest_joins(
    demo_store: Store, tiny_bert: Path, tmp_path: Path
) -> None:
    ids = [str(name) for name in demo_store.index["id"]]
    captions = {name: [f"the hand goes up {name}", "fast"] for name in ids[:-3]}
    captions[ids[0]][1] = "I’m sorry, but I can’t identify people"
    captions[ids[1]][1] = "<think>which hand"
    source = as_csv(tmp_path / "c", captions | {"S999C001P001R001A001": ["a", "b"]})
    out, store = str(tmp_path / "t"), str(demo_store.path)
    make = ["import", str(source), out, "--store", store, "--encoder", str(tiny_bert)]
    run = CliRunner().invoke(prompts, make, catch_exceptions=False)
    assert run.exit_code == 0, run.output
    assert "3 sequences of the store have no captions" in run.output
    assert "2 distinct captions are empty or read like a model's refusal or thoughts" in run.output
    listed = pd.read_csv(tmp_path / "t" / "rejected.csv")
    assert listed.to_numpy().tolist() == [["S999C001P001R001A001", "not in the store"]]
    checked = CliRunner().invoke(prompts, ["check", out, store, "--list"])
    assert all(name in checked.output for name in ids[-3:]) and "3 missing here" in checked.output
    judged = CliRunner().invoke(prompts, ["probe", out, store, "--split", "xsub"])
    assert "3 sequences, left out" in judged.output
    table = ConceptTable.open(out)
    with pytest.raises(UserError, match="set prompts"):
        table.join(ids)
    foreign = as_json(tmp_path / "d", {"x": ["a", "b"]})
    with pytest.raises(UserError, match="none of its 1 sequences"):
        import_captions(foreign, tmp_path / "u", Letters(), store=demo_store)


def test_published_captions_tell_action_and_performer() -> None:
    """The names of the real archive carry what the probe needs."""
    from c2vl.prompts.probe import read_names

    archive = _data("C2VL_PKU_CAPTIONS", "pkummd2_captions") / "pkuv2_language.zip"
    found = captions_file.read(archive)
    even = captions_file.even(found)
    assert len(even.texts) == 6952 and not even.rejected
    labels, subjects = read_names(list(found))
    assert len(np.unique(labels)) == 41 and len(np.unique(subjects)) == 13
    assert len({text for row in found.values() for text in row}) == 47529


def test_texts_of_motions_are_read_as_they_are(tmp_path: Path) -> None:
    """Captions of a span belong to the sequence that the reader cuts out."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "000012.txt").write_text(
        "a person waves.#a/DET#0.0#0.0\nwaving#waving/VERB#nan#nan\nthen sits#x#1.0#2.5\n\n"
    )
    assert captions_file.read(tmp_path) == {
        "000012": ["a person waves.", "waving"],
        "000012@1-2.5": ["then sits"],
    }
    (tmp_path / "texts" / "000013.txt").write_text("fine#x#0#0\nno span#x#2#1\n")
    with pytest.raises(UserError, match=r"000013\.txt, line 2: no span of time"):
        captions_file.read(tmp_path)
