"""`c2vl data init` on recordings in the forms that laboratories have them in.

Each folder holds sequences of the generated set; what its files lead to must be these sequences.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from scipy.io import savemat

from c2vl.commands.data import data
from c2vl.config.reading import load
from c2vl.skeletons.starting import project_files
from c2vl.skeletons.starting.file_names import read_names
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from sweeps.spec.reading import load_sweep
from tests.skeletons.datasets.mocap_writers import RIG, bvh_lines

Joints = np.ndarray
Writer = Callable[[Path, Joints], None]


def said(*words: object) -> str:
    """Run ``c2vl data``; what it printed."""
    result = CliRunner().invoke(data, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def _npy(path: Path, x: Joints) -> None:
    np.save(path.with_suffix(".npy"), x[0] if len(x) == 1 else x)


def _npz(path: Path, x: Joints) -> None:
    padded = np.zeros((2, *x.shape[1:]), np.float32)
    padded[: len(x)] = x
    np.savez(path.with_suffix(".npz"), rate=np.arange(3), data=padded.transpose(3, 1, 2, 0))


def _mat(path: Path, x: Joints) -> None:
    savemat(path.with_suffix(".mat"), {"d_skel": x[0].transpose(1, 2, 0)}, do_compression=True)


def _line_a_joint(path: Path, x: Joints) -> None:
    rows = np.concatenate([x[0].reshape(-1, 3), np.ones((x.shape[1] * x.shape[2], 1))], axis=1)
    np.savetxt(path.with_suffix(".txt"), rows, fmt="%.9g", delimiter="  ")


def _line_a_frame(path: Path, x: Joints) -> None:
    head = ",".join(f"j{joint}_{axis}" for joint in range(x.shape[2]) for axis in "xyz")
    rows = x[0].reshape(x.shape[1], -1)
    np.savetxt(path.with_suffix(".csv"), rows, "%.9g", ",", header=head, comments="")


WRITERS: dict[str, tuple[Writer, str]] = {
    "arrays, one or two bodies": (_npy, ""),
    "ST-GCN's axes, two arrays a file": (_npz, "[xyz, frames, joints, bodies]"),
    "MATLAB, frames last": (_mat, "[joints, xyz, frames]"),
    "text, a line a joint": (_line_a_joint, "[frames*joints, xyzc]"),
    "text, a line a frame": (_line_a_frame, "[frames, joints*xyz]"),
}


def _record(folder: Path, store: Store, write: Writer, count: int = 16) -> list[Joints]:
    """Write some sequences under names of codes; what was written, by name."""
    (folder / "raw").mkdir(parents=True)
    places = np.r_[0 : count - 2, np.flatnonzero(store.index["bodies"] == 2)[:2]]
    written = []
    for number, place in enumerate(places):
        x = np.array(store.joints(int(place)))
        x = x if write in (_npy, _npz) else x[:1][:, x[0].any((1, 2))]
        write(folder / "raw" / f"a{number % 2 + 1:02}_s{number // 4 + 1}_t{number % 4}", x)
        written.append((number % 2, number // 4, number % 4, x))
    (folder / "README.txt").write_text("Recorded in May.\n3 of 5 are good\n")
    return [x for *_, x in sorted(written, key=lambda one: one[:3])]


@pytest.mark.parametrize("form", WRITERS)
def test_what_init_writes_leads_to_the_recordings(
    form: str, demo_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write, axes = WRITERS[form]
    written = _record(Path("mine"), demo_store, write)
    told = said("init", "mine")
    assert "layout       ntu25" in told and "y points up, in m" in told
    assert 'the number after "s" in the name' in told
    described = Path("mine/layout.yaml").read_text()
    assert f"axes: {axes}\n" in described if axes else "recordings:" not in described
    (command,) = [line.split("c2vl data ")[1] for line in told.splitlines() if "prepare" in line]
    prepared = said(*shlex.split(command))
    assert "16 sequences" in prepared and not re.search(r"[1-9]\d* rejected", prepared)
    store = Store.open("runs/stores/mine")
    assert store.layout.name == "ntu25"
    for place, x in enumerate(written):
        shown = x[x.any((1, 2, 3))][:, x.any((0, 2, 3))]
        np.testing.assert_allclose(store.joints(place), shown, atol=1e-6)
    assert list(store.class_names) == ["a01", "a02"]
    experiment = load(Path("mine/experiment.yaml"))
    assert experiment.data.split == "subject:1,3" and experiment.data.validation_folds == 2
    assert load_sweep(Path("mine/sweep.yaml")).base == experiment


def test_motion_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words for names: the first that repeats is the class, the next one groups."""
    monkeypatch.chdir(tmp_path)
    heights = {"Head": 165, "Neck": 150, "Chest": 130, "Spine": 110, "Hips": 95}
    heights |= {"UpperLeg": 90, "LowerLeg": 50, "Foot": 8, "Toes": 2, "Index1": 70}
    rest = [heights.get(name.partition("_")[0], 120) for name, _, _ in RIG]
    for action in ("walk", "run"):
        for style in ("old", "young", "proud", "sad"):
            for take in range(2):
                x = np.zeros((5, len(RIG), 3)) + np.array(rest)[:, None] * [0, 0, 1.0]
                path = tmp_path / "mine" / f"lab_{action}_{style}_{take}.bvh"
                path.parent.mkdir(exist_ok=True)
                path.write_text("\n".join(bvh_lines(x, 1 / 30)))
    told = said("init", "mine")
    assert "z points up, in cm" in told and "prepare bvh mine runs/stores/mine --up z" in told
    assert "label        2 values: word 2" in told and "old 1, proud 2, sad 3, young 4" in told
    assert not Path("mine/layout.yaml").exists()
    assert load(Path("mine/experiment.yaml")).data.validation_by == "setup"


def test_joints_that_nobody_knows(
    demo_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Millimetres, names that say nothing, and a file without a body."""
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    for number in range(6):
        x = np.array(demo_store.joints(number))[0]
        np.save(f"mine/{number}.npy", 1000 * x[x.any((1, 2)), :23])
    np.save("mine/6.npy", np.zeros((4, 23, 3)))
    told = said("init", "mine")
    assert "not known: name the joints in layout.yaml" in told
    assert "6.npy: no frame has a body" in told and "--max-rejected 1" in told
    assert "the names have no class" in told and "takes are dealt out" in told
    assert "name: my_sensor" in Path("mine/layout.yaml").read_text()
    drawn = said("layouts", "mine/layout.yaml")
    assert "joint_22" in drawn


def test_few_subjects_are_not_called_unknown(demo_store: Store, tmp_path: Path) -> None:
    for number in range(8):
        one = demo_store.joints(number)[0]
        np.save(tmp_path / f"a{number % 2}_s{number // 2 % 2}_t{number // 4}.npy", one)
    assert "subjects: 2, too few to train on some" in said("init", tmp_path)


@pytest.mark.parametrize("there", ["sequences.csv", "sweep.yaml"])
def test_nothing_is_overwritten_and_nothing_half_written(
    there: str, demo_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _record(tmp_path, demo_store, _npy)
    (tmp_path / there).write_text("mine\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=f"{there} is there already"):
        said("init", tmp_path)
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / there).read_text() == "mine\n"
    (tmp_path / there).unlink()
    write = project_files.write_text

    def full(path: Path, text: str) -> None:
        if path.name == "experiment.yaml":
            raise UserError("no space left")
        write(path, text)

    monkeypatch.setattr(project_files, "write_text", full)
    with pytest.raises(UserError, match="no space left"):
        said("init", tmp_path)
    assert not list(tmp_path.glob("*.yaml")) and not list(tmp_path.glob("*.csv"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([], r"no recordings in it \(.npy, .npz, .mat, text of numbers, .bvh; found: .md"),
        (["0,1;-2,5;3,1\n"], r"0.csv: decimal commas \(0,1\): write numbers with points"),
        ([np.ones((9, 17, 2))], "an array of 9 × 17 × 2: .* 2D joints are not supported"),
        ([np.ones((50, 3, 300, 25, 2))], "one array of many sequences: c2vl data prepare arrays"),
        ([np.ones((9, 25, 3)), np.ones((9, 75))], "arrays of different shapes"),
        ([np.array({}, dtype=object)], "no plain numbers"),
        ([np.zeros((9, 25, 3))], "0.npy: no frame has a body"),
        ([np.ones((9, 25, 3)), np.ones((25, 11, 3))], "0.npy .* 9 × 25 × 3, 1.npy 25 × 11 × 3: "),
        ([np.ones((9, 25, 3)), np.ones((8, 20, 3))], "0.npy .* 1.npy 8 × 20 × 3: .* of their own"),
    ],
)
def test_what_cannot_be_told(arrays: list[Joints | str], message: str, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("1 2 3\n")
    for number, array in enumerate(arrays):
        if isinstance(array, str):
            (tmp_path / f"{number}.csv").write_text(array)
        else:
            np.save(tmp_path / f"{number}.npy", array)
    with pytest.raises(UserError, match=message):
        said("init", tmp_path)
    assert not list(tmp_path.glob("*.yaml"))


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (
            ["S001C002P003R001A010", "S002C001P003R002A011"],
            {"label": "a010 a011", "subject": "3 3", "camera": "2 1", "setup": "1 2"},
        ),
        (["sub1/wave/take1", "sub2/clap/take2"], {"subject": "1 2", "replication": "1 2"}),
        (["wave/1", "wave/2", "clap/1"], {"label": "wave wave clap", "replication": "1 2 1"}),
        (["one", "two"], {}),
    ],
)
def test_names(names: list[str], columns: dict[str, str]) -> None:
    read = read_names(names)
    assert {name: " ".join(read.values[name]) for name in columns} == columns
    assert set(read.values) == set(read.why)
    assert columns or not read.values


def test_the_real_recordings(utd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """UTD-MHAD as raw arrays becomes what its own reader makes of it."""
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    for place in ("Skeleton/a1_s*", "Skeleton/a2_s*", "Skeleton/*.txt"):
        for file in sorted(utd.glob(place)):
            (tmp_path / "mine" / file.name).symlink_to(file)
    assert "layout       kinect20" in said("init", "mine")
    assert yaml.safe_load(Path("mine/layout.yaml").read_text())["recordings"] == {
        "axes": ["joints", "xyz", "frames"]
    }
    assert "64 sequences" in said("prepare", "folder", "mine", "runs/stores/mine")
