"""How a sweep's folder is taken, and what a start that fails leaves: no trial is ever run here."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from sweeps.commands.running import _changed, _continued
from sweeps.running.claim import claimed
from sweeps.search.budget import Budget
from sweeps.spec import provenance
from sweeps.spec.lock import is_running, locked
from sweeps.spec.reading import dump_sweep, load_sweep, read_sweep
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.sweep_folder import SweepFolder
from sweeps.tracking.registry import tracking_uri
from tests.small import from_dict, on_demo, parse_sweep

LR = {"type": "float", "low": 0.01, "high": 1.0}


@pytest.fixture
def spec(tmp_path: Path) -> SweepSettings:
    """A sweep that has not started, with its folder."""
    values = {"name": "s", "storage": str(tmp_path), "space": {"optim.lr": LR}}
    spec = parse_sweep(values, "s.yaml")
    spec.folder.path.mkdir(parents=True)
    return spec


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")} if folder.exists() else set()


def test_a_start_that_fails_removes_what_it_made(spec: SweepSettings) -> None:
    with pytest.raises(RuntimeError), claimed(spec, resume=False):
        raise RuntimeError("MLflow is away, say")
    assert not spec.folder.path.exists()


def test_a_folder_that_lost_its_sweep_file_stays(spec: SweepSettings) -> None:
    (spec.folder / "trials").mkdir()
    (spec.folder / "study.db").touch()
    for resume, message in ((False, r"holds trials .*no sweep\.yaml"), (True, "no such sweep")):
        with pytest.raises(UserError, match=message), claimed(spec, resume=resume):
            pass
        assert files(spec.folder.path) == {"trials", "study.db"}


def test_a_file_that_is_run_again_continues_what_it_began(spec: SweepSettings) -> None:
    (spec.folder / "sweep.yaml").write_text(dump_sweep(spec.model_copy(update={"trials": 40})))
    spec.folder.make_identity()
    assert _continued(spec).trials == 40  # it was extended
    tracking = spec.tracking.model_copy(update={"model": "other"})
    changed = spec.model_copy(update={"trials": 50, "concurrency": 1, "tracking": tracking})
    assert _continued(changed) == changed
    with claimed(_continued(changed), resume=True) as claim:
        claim.keep()
    kept = read_sweep(spec.storage, "s")
    assert (kept.trials, kept.model, kept.concurrency) == (50, "other", None)
    for change in ({"base": {"optim": {"lr": 7}}}, {"space": {"optim.weight_decay": LR}}):
        values = {**spec.model_dump(mode="json"), **change}
        with pytest.raises(UserError, match=r"has begun with .*keeps it: put it back"):
            _continued(parse_sweep(values, "s.yaml"))


def test_a_sweep_that_an_earlier_version_let_begin_goes_on(spec: SweepSettings) -> None:
    """Its space draws a split, and one of its draws does not fit what stands beside the winner."""
    space = {
        "data.split": {"type": "categorical", "choices": ["xsub", "xview"]},
        "objective.name": {"type": "categorical", "choices": ["c2vl", "skeletonclr"]},
    }
    values = {**spec.model_dump(mode="json"), "space": space, "final": {"beside": ["hard"]}}
    spec.folder.settings.write_text(yaml.safe_dump(values))
    changed = _changed(spec.storage, "s", ("concurrency=1",), more=3)
    assert (changed.trials, changed.concurrency) == (spec.trials + 3, 1)
    assert _continued(load_sweep(spec.folder.settings, begun=True)).trials == spec.trials
    with pytest.raises(UserError, match=r"data\.split: cannot be searched"):
        load_sweep(spec.folder.settings)


def test_a_sweep_file_that_was_edited_is_told(spec: SweepSettings, tmp_path: Path) -> None:
    """Trials of 2 and of 3 epochs once stood in one ranking."""
    with claimed(spec, resume=False) as claim:
        claim.keep()
    provenance.record(spec.folder, {}, dump_sweep(spec))
    provenance.record(spec.folder, {"store": {}}, dump_sweep(spec))  # of a later start
    values = spec.model_dump(mode="json")
    moved = {**values["base"], "data": {**values["base"]["data"], "store": "elsewhere"}}
    for change in ({"concurrency": 1}, {"trials": 50}, {"base": moved}):
        spec.folder.settings.write_text(yaml.safe_dump(values | change))
        with claimed(read_sweep(tmp_path, "s"), resume=True):
            pass
    longer = {**values["base"], "train": {"epochs": 3}}
    linear = {"optim.lr": {**LR, "log": True}}
    for change, key in ({"base": longer}, "base.train.epochs"), ({"space": linear}, "space.optim"):
        spec.folder.settings.write_text(yaml.safe_dump(values | change))
        message = rf"{key}.* has begun with .*sweep\.yaml says .*put it back"
        with (
            pytest.raises(UserError, match=message),
            claimed(read_sweep(tmp_path, "s"), resume=True),
        ):
            pass


@pytest.mark.parametrize("named", [None, "sqlite:///mine.db"])
def test_one_variable_says_where_runs_are_written_and_read(
    named: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = {"uri": named} if named else {}
    base = on_demo({})
    values = {"name": "s", "base": base, "space": {"optim.lr": LR}, "tracking": tracking}
    (path := tmp_path / "s.yaml").write_text(yaml.safe_dump(values))
    own = load_sweep(path, [f"storage={tmp_path}"]).tracking_uri
    assert own == (named or f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := "http://127.0.0.1:5000")
    spec = load_sweep(path, [f"storage={tmp_path}"])
    assert spec.tracking_uri == (named or uri) and tracking_uri() == uri
    spec.folder.path.mkdir(parents=True)
    spec.folder.settings.write_text(dump_sweep(spec))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert read_sweep(tmp_path, "s").tracking_uri == (named or uri), "a resume writes there too"


def test_a_file_with_a_password_is_its_owners_alone(spec: SweepSettings) -> None:
    def keep(spec: SweepSettings) -> int:
        with claimed(spec, resume=spec.folder.begun) as claim:
            claim.keep()
        return spec.folder.settings.stat().st_mode & 0o777

    plain = spec.model_copy(update={"study": "postgresql://me@db/x"})  # with PGPASSWORD
    assert keep(plain) == 0o644
    spec.folder.settings.unlink()
    secret = spec.model_copy(update={"study": "postgresql://me:s3cret@db/x"})
    assert keep(secret) == 0o600
    spec.folder.settings.chmod(0o644)  # as an earlier version left it
    assert keep(secret) == 0o600


def test_a_lost_identity_is_not_replaced(spec: SweepSettings) -> None:
    (spec.folder / "sweep.yaml").write_text(dump_sweep(spec))
    with pytest.raises(UserError, match="restore it"), claimed(spec, resume=True):
        pass
    assert files(spec.folder.path) == {"sweep.yaml"}


def test_a_lock_that_went_with_its_folder_locks_nobody_out(tmp_path: Path) -> None:
    """Two wait for a sweep that fails, or is deleted: a new one has the lock, a resume none."""
    folder = SweepFolder(tmp_path / "s")
    seen: dict[bool, Any] = {}

    def wait(make: bool) -> None:
        try:
            with locked(folder, "s", make=make):
                seen[make] = is_running(folder)
        except UserError as error:
            seen[make] = str(error)

    for make in (False, True):
        with locked(folder, "s", make=True):
            waiting = threading.Thread(target=wait, args=(make,))
            waiting.start()
            waiting.join(0.3)
            assert waiting.is_alive()
            shutil.rmtree(folder)
        waiting.join()
    assert seen == {False: "s: there is no such sweep any more", True: True}


def test_a_sweep_goes_on_with_the_data_it_began_with(spec: SweepSettings) -> None:
    data = {"store": {"checksum": "one", "licence": ""}, "language": {"digest": "words"}}
    provenance.require_same(spec.folder, data)
    provenance.record(spec.folder, data, "")
    provenance.require_same(spec.folder, {**data, "store": {"checksum": "one", "licence": "CC"}})
    for change, message in (
        ({"store": {"checksum": "two"}}, "the data have changed"),
        ({"language": {"digest": "other"}}, "the language prompts have changed"),
    ):
        with pytest.raises(UserError, match=message):
            provenance.require_same(spec.folder, {**data, **change})


def test_what_the_space_reads_stays_the_same_too(
    spec: SweepSettings, demo_store: Store, language: Path, tmp_path: Path
) -> None:
    """Of the stores and tables of the base alone was anything recorded."""
    other = shutil.copytree(language, tmp_path / "other")
    base = on_demo({"data": {"store": str(demo_store.path)}, "prompts": {"language": str(other)}})
    others = provenance.contents([from_dict(base)])
    assert others.keys() == {str(demo_store.path), str(other)} and all(others.values())
    provenance.record(spec.folder, {}, "")  # as earlier versions did
    provenance.require_same(spec.folder, {}, others)
    provenance.record(spec.folder, {}, "", others)
    provenance.require_same(spec.folder, {}, {**others, "moved": "elsewhere"})
    with pytest.raises(UserError, match=rf"{other} has changed since it ran .* bring it back"):
        provenance.require_same(spec.folder, {}, {**others, str(other): "changed"})


def test_a_damaged_budget_is_named(spec: SweepSettings) -> None:
    Budget(spec).note()
    assert Budget(spec).used()["max_hours"] < 1
    (spec.folder / "budget.json").write_text("{")
    with pytest.raises(UserError, match=r"budget\.json: is damaged"):
        Budget(spec)
