"""Parts of somebody else: imported, checked, overridden; and our own options, frozen."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from c2vl.config.reading import load, override, setting_names
from c2vl.support.errors import UserError
from tests.small import from_dict

PART = """
from c2vl.config.experiment import ModelSettings
from c2vl.registry import register

class MineSettings(ModelSettings):
    depth: int = 2

register("backbone", "mine_of_a_test", "nowhere:Mine", settings=MineSettings)
"""


def test_settings_of_an_imported_part(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PART)
    file = tmp_path / "experiment.yaml"
    file.write_text(
        "imports: [mine.py]\nmodel: {name: mine_of_a_test, depth: 3}\ndata: {store: s}\n"
        "prompts: {language: l}\n"
    )
    experiment = load(file)
    assert experiment.model.model_dump() == {"name": "mine_of_a_test", "depth": 3}
    assert experiment.imports == (str(tmp_path / "mine.py"),)
    assert pickle.loads(pickle.dumps(experiment)) == experiment
    assert "model.depth" in setting_names(experiment.model_dump(mode="json"))
    with pytest.raises(UserError, match=r'model\.dept: no such setting; did you mean "depth"'):
        load(file, ["model.dept=1"])
    with pytest.raises(UserError, match=r"imports: absent\.py: cannot be imported here"):
        load(file, ["imports=[absent.py]"])


def test_another_part_drops_what_it_does_not_have() -> None:
    base = from_dict({"optim": {"lr": 0.5}}).model_dump(mode="json")
    changed = from_dict(override(base, {"optim.name": "adamw", "objective.name": "supervised"}))
    assert changed.optim.lr == 0.5 and "momentum" not in changed.optim.model_dump()
    assert changed.objective.uses_labels and changed.concept_tables() == {}


def test_earlier_names_load() -> None:
    assert from_dict({"objective": {"supervised": True, "beta": 0.1}}).objective.uses_labels
    assert from_dict({"objective": {"supervised": False}}) == from_dict({})
    from_dict({"optim": {"name": "adamw", "momentum": 0.9, "nesterov": True}})


def test_a_new_option_is_a_decision() -> None:
    lines = Path(__file__).with_name("options.txt").read_text().splitlines()
    assert [*setting_names()] == [line for line in lines if not line.startswith("#")]
