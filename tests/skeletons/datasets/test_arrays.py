from __future__ import annotations

import gzip
import io
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c2vl.skeletons.datasets import Found, Options, Rejected, get_reader, read_item
from c2vl.skeletons.datasets.ntu_classes import NTU120_CLASSES
from c2vl.skeletons.formats import npy
from c2vl.skeletons.sequence import Sequence
from c2vl.support.errors import UserError
from tests.skeletons.datasets import writers
from tests.skeletons.datasets.writers import NTU_SAMPLES, pyskl, write_aimclr, write_ctrgcn

READER = get_reader("arrays")
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n"


def read(source: Path, options: Options | None = None) -> tuple[Found, list[Any], list[Rejected]]:
    found = READER.discover(source, options or Options())
    everything = [one for item in found.items for one in read_item(READER.read, item)]
    rejected = [*found.rejected, *(one for one in everything if isinstance(one, Rejected))]
    return found, [one for one in everything if isinstance(one, Sequence)], rejected


def test_class_names_and_splits(tmp_path: Path) -> None:
    for name, write in (
        ("aimclr", write_aimclr),
        ("unnamed", writers.write_aimclr_unnamed),
        ("ctrgcn", write_ctrgcn),
        ("pyskl", writers.write_pyskl),
    ):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "\n")
    named, unnamed, one_hot, pickled = (
        read(tmp_path / name)[0] for name in ("aimclr", "unnamed", "ctrgcn", "pyskl")
    )
    assert named.class_names == NTU120_CLASSES[:60] == one_hot.class_names == pickled.class_names
    assert unnamed.class_names == tuple(f"class {number}" for number in range(4))
    assert [one.default_split for one in (named, unnamed, one_hot, pickled)] == [
        *("given", "given", "given", "xsub")
    ]
    with pytest.raises(UserError, match=r"holds .*NTU60_CS\.npz.*ntu60_3danno\.pkl.*give one"):
        read(tmp_path)


def test_labels_that_are_not_the_actions_of_the_names(tmp_path: Path) -> None:
    """A subset of NTU's classes, numbered anew, has not NTU's class names."""
    write_aimclr(tmp_path, "\n")
    for part, names, labels in (
        ("train", NTU_SAMPLES[:3], [0, 2, 1]),
        ("val", NTU_SAMPLES[3:], [1]),
    ):
        table = [name for name, _ in names], np.array(labels)
        (tmp_path / "xsub" / f"{part}_label.pkl").write_bytes(pickle.dumps(table))
    found, sequences, _ = read(tmp_path)
    assert found.class_names == ("class 0", "class 1", "class 2")
    assert [one.label for one in sequences] == [0, 2, 1, 1] and sequences[1].subject == 8


def test_pieces_are_ranges_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ctrgcn(tmp_path, "\n")
    whole = read(tmp_path)
    monkeypatch.setattr("c2vl.skeletons.datasets.array_rows.BLOCK", 80_000)
    found, sequences, _ = read(tmp_path)
    assert [item.rows for item in found.items] == [(0, 2), (2, 4)] * 2
    assert [one.id for one in sequences] == [one.id for one in whole[1]]
    assert len({item.fingerprint for item in found.items}) == 4


@pytest.mark.parametrize("packed", [False, True])
def test_memory_is_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 30, 150)).astype(np.float32)  # 5 MB
    save = np.savez_compressed if packed else np.savez
    save(tmp_path / "a.npz", x_train=x, y_train=np.arange(300) % 60)
    monkeypatch.setattr(npy, "BLOCK", 1 << 18)
    monkeypatch.setattr("c2vl.skeletons.datasets.array_rows.BLOCK", 1 << 18)
    tracemalloc.start()
    try:
        found = READER.discover(tmp_path, Options())
        count = sum(1 for item in found.items for _ in read_item(READER.read, item))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 300 and len(found.items) == (1 if packed else 22)
    assert peak < 2 << 20


def test_layouts_of_other_joints(tmp_path: Path) -> None:
    write_ctrgcn(tmp_path, "\n", joints=5)
    with pytest.raises(UserError, match=r"10 joints.*--layout"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"--layout ntu25 has 25 joints, but the arrays have 10"):
        read(tmp_path, Options(layout="ntu25"))
    path = tmp_path / "mine.yaml"
    path.write_text(writers.LAYOUT)
    found, sequences, _ = read(tmp_path, Options(layout=str(path)))
    assert found.layout.name == "my_sensor" and sequences[3].joints.shape == (2, 29, 5, 3)


def rows_of(count: int = 3) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, 8, 75))


def with_row(row: int, value: float) -> np.ndarray:
    x = rows_of()
    x[row, 2, 5] = value
    return x


ONE_HOT = np.eye(4)[[1, 2, 3]]


@pytest.mark.parametrize(
    ("x", "y", "where", "message"),
    [
        (with_row(1, np.nan), ONE_HOT, "x_train.npy[1]", "not finite"),
        (with_row(2, np.inf), ONE_HOT, "x_train.npy[2]", "not finite"),
        (rows_of() * [[[0]], [[1]], [[1]]], ONE_HOT, "x_train.npy[0]", "no frame has a body"),
        (rows_of() * 1e4, ONE_HOT, "x_train.npy[0]", "over 1000 m"),
        (rows_of(), ONE_HOT * [[1], [0.5], [1]], "x_train.npy[1]", "its label"),
        (rows_of(), np.add(ONE_HOT, [[0], [0], [1]]), "x_train.npy[2]", "its label"),
        (rows_of(), np.array([0, -1, 1]), "x_train.npy[1]", "its label"),
        (rows_of(), np.array([0, 1 << 60, 1]), "x_train.npy[1]", "its label"),
    ],
)
def test_bad_rows_are_rejected_alone(
    tmp_path: Path, x: np.ndarray, y: np.ndarray, where: str, message: str
) -> None:
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y)
    _, sequences, rejected = read(tmp_path)
    assert rejected[0].file == f"a.npz/{where}" and message in rejected[0].reason
    assert len(sequences) + len(rejected) == 3


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": rows_of()}, "no x_train or x_test"),
        ({"x_train": rows_of()}, "no y_train"),
        ({"x_train": rows_of(), "y_train": np.arange(2)}, "2 labels for 3 sequences"),
        ({"x_train": rows_of(), "y_train": np.zeros((3, 2, 2))}, "neither whole"),
        ({"x_train": rows_of(), "y_train": np.zeros(3)}, "neither whole"),
        ({"x_train": rows_of(), "y_train": np.array(["a", "b", "c"])}, "no plain numbers"),
        ({"x_train": rows_of()[..., :74], "y_train": np.arange(3)}, "bodies × joints"),
        ({"x_train": rows_of()[0], "y_train": np.arange(8)}, "bodies × joints"),
        ({"x_train": rows_of()[:0], "y_train": np.arange(0)}, "nothing in it"),
        ({"x_train": np.array([{}, {}, {}]), "y_train": np.arange(3)}, "no plain numbers"),
        ({"x_train": np.asfortranarray(rows_of()), "y_train": np.arange(3)}, "Fortran"),
    ],
)
def test_bad_archives(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    try:
        _, sequences, rejected = read(tmp_path)
    except UserError as error:
        assert message in str(error) and "a.npz" in str(error)
    else:
        assert not sequences and message in rejected[0].reason


def npy_bytes(shape: str, descr: str = "<f4", numbers: int = 4 * 8 * 75) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(numbers)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy_bytes("(1000000000, 8, 75)"), "takes 2400000000000"),
        (npy_bytes("(1, 8, 76)"), "takes 2432"),
        (npy_bytes("(1, 8, 74)"), "takes 2368"),
        (npy_bytes("(99999999999999999999, 8, 75)"), "shape"),
        (npy_bytes("(-1, 8, 75)"), "damaged"),
        (npy_bytes("(1000000000000, 0)", numbers=0), "nothing in it"),
        (npy_bytes("(1, 8, 75)", "|O"), "no plain numbers"),
        (npy_bytes("(1, 8, 75)", "<c8"), "no plain numbers"),
        (npy_bytes("__import__('os')"), "damaged"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b" " * 70_000, "not known"),
        (b"\x93NUMPY\x09\x00\x10\x00" + b" " * 70, "not known"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "not known"),
        (b"\x80\x04N.", "not a .npy"),
        (b"", "not a .npy"),
    ],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_headers_are_not_believed(
    tmp_path: Path, content: bytes, message: str, method: int
) -> None:
    y = io.BytesIO()
    np.save(y, np.arange(1))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("x_train.npy", content)
        archive.writestr("y_train.npy", y.getvalue())
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_bombs_and_damage_in_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x_train=np.zeros((40, 300, 150)), y_train=np.arange(40))
    with pytest.raises(UserError, match=r"inflates \d+-fold"):
        read(tmp_path)
    np.savez_compressed(path, x_train=rows_of(40), y_train=np.arange(40))
    content = bytearray(path.read_bytes())
    content[5000:5010] = bytes(10)
    path.write_bytes(content)
    _, _, rejected = read(tmp_path)
    assert "damaged" in rejected[0].reason
    path.write_bytes(content[:4000])
    with pytest.raises(UserError, match=r"a\.npz.*damaged"):
        read(tmp_path)


def test_sizes_that_an_archive_gives_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    arrays = {"x_train": rows_of(), "y_train": np.arange(3)}
    np.savez(path, **arrays, x_test=rows_of(), y_test=np.arange(3))
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"x_test.npy") - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    content[entry + 20] ^= 8  # of the size that the member has in the archive
    path.write_bytes(content)
    _, sequences, rejected = read(tmp_path)
    assert [one.parts for one in sequences] == [{"given": "train"}] * 3
    assert [one.file for one in rejected] == ["a.npz/x_test.npy"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train_label.pkl", pickle.dumps((["a"], [1])), "1 labels for 3"),
        ("train_label.pkl", pickle.dumps((["a"], [1, 2, 3])), "1 names for 3"),
        ("train_label.pkl", pickle.dumps([1, 2, 3]), "no pair"),
        ("train_label.pkl", pickle.dumps((["a"], {})), "no list"),
        ("train_label.pkl", pickle.dumps(([1, 2, 3], [1, 2, 3])), "no text"),
        ("train_label.pkl", b"\x80\x02cos\nsystem\n.", "asks for os.system"),
        ("train_label.pkl", None, "neither _label.pkl nor"),
        ("train_position.npy", npy_bytes("(3, 8, 75)", numbers=7200), "expected (N, 3, frames"),
        ("train_position.npy", npy_bytes("(3, 3, 1000000000, 25, 2)"), "takes"),
    ],
)
def test_a_bad_part_leaves_the_other(
    tmp_path: Path, file: str, content: bytes | None, message: str
) -> None:
    write_aimclr(tmp_path, "\n")
    path = tmp_path / "xsub" / file
    path.unlink() if content is None else path.write_bytes(content)
    _, sequences, rejected = read(tmp_path)
    assert [one.parts for one in sequences] == [{"given": "test"}]
    assert rejected[0].file == "xsub/train_position.npy" and message in rejected[0].reason


def test_a_validation_part_beside_a_test_part_is_in_neither(tmp_path: Path) -> None:
    parts = ("train", "val", "test")
    arrays = {f"x_{part}": rows_of() for part in parts}
    np.savez(tmp_path / "a.npz", **arrays, **{f"y_{part}": np.arange(3) for part in parts})
    _, sequences, _ = read(tmp_path)
    assert [one.parts for one in sequences[::3]] == [{"given": "train"}, {}, {"given": "test"}]


def annotation(**fields: Any) -> dict[str, Any]:
    good = {"frame_dir": "a", "label": 1, "total_frames": 4, "keypoint": np.ones((1, 4, 25, 3))}
    return {name: value for name, value in {**good, **fields}.items() if value is not None}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (annotation(keypoint=np.full((1, 4, 25, 3), np.nan)), "not finite"),
        (annotation(keypoint=np.zeros((1, 4, 25, 3))), "no frame has a body"),
        (annotation(keypoint=np.ones((1, 4, 17, 2))), "2D"),
        (annotation(keypoint=np.ones((4, 25, 3))), "expected (bodies"),
        (annotation(keypoint=np.ones((1, 0, 25, 3)), total_frames=0), "expected (bodies"),
        (annotation(keypoint=np.ones((1, 4, 25, 3), dtype="S1")), "keypoint is S1"),
        (annotation(keypoint=[[1.0]]), "no array"),
        (annotation(total_frames=5), "total_frames is 5"),
        (annotation(total_frames=10**9), "total_frames is 1000000000"),
        (annotation(label=-1), "label"),
        (annotation(label="1"), "label"),
        (annotation(label=10**9), "label"),
        (annotation(label=None), "has no label"),
        (annotation(keypoint=None), "has no keypoint"),
        (annotation(frame_dir=""), "name is empty"),
        (annotation(frame_dir=7), "no text"),
        (annotation(frame_dir="a\n"), "not printable"),
        (7, "no dict"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_bad_annotations(tmp_path: Path, bad: Any, message: str, protocol: int) -> None:
    content = {"split": {}, "annotations": [annotation(frame_dir="good"), bad]}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
    _, sequences, rejected = read(tmp_path)
    assert [one.id for one in sequences] == ["good"]
    assert [one.file for one in rejected] == ["a.pkl[1]"] and message in rejected[0].reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"annotations": []}), "no annotation"),
        (pickle.dumps([]), "no {"),
        (
            pickle.dumps({"annotations": [annotation()], "split": {"train": ["a"], "val": ["a"]}}),
            "both",
        ),
        (pickle.dumps({"annotations": [annotation()], "split": []}), "no dict of lists"),
        (pickle.dumps({"annotations": [annotation()], "split": {"train": 7}}), "names is none"),
        (
            pickle.dumps(
                {"annotations": [annotation(), annotation(keypoint=np.ones((1, 4, 17, 3)))]}
            ),
            "17, 25 joints",
        ),
        (pickle.dumps({"annotations": [annotation()]})[:-30], "damaged|past the end"),
        (pickle.dumps({"annotations": [annotation()]}, protocol=0), "protocol 2 to 5; an older"),
        (b"", "protocol 2 to 5"),
        (LFS, "a pointer of Git LFS, not the file"),
        (b"\n <!DOCTYPE HTML><html>", "a web page, not the file"),
        (gzip.compress(pickle.dumps({}), mtime=0), "unpack it with gunzip"),
    ],
)
def test_bad_pickles(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_the_file_at_fault_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "train_data.npy", np.ones((2, 3, 4, 25, 2), np.float32))
    labels = tmp_path / "train_label.pkl"
    for content, told in ((pickle.dumps((["a", "b"], [0, 1]), protocol=0), "2 to 5"), (LFS, "LFS")):
        labels.write_bytes(content)
        with pytest.raises(UserError, match=f"beside it train_label.pkl: .*{told}"):
            read(tmp_path)
    labels.rename(tmp_path / "a.bin")
    (tmp_path / "train_data.npy").unlink()
    with pytest.raises(UserError, match=r"a\.bin is a pointer of Git LFS"):
        read(tmp_path)
    (tmp_path / "a.bin").write_bytes(pickle.dumps({"annotations": [annotation()]}))
    with pytest.raises(UserError, match=r"a\.bin begins like a \.pkl: name it so"):
        read(tmp_path)


def test_split_names_of_pickles(tmp_path: Path) -> None:
    split = {"train": ["a"], "test1": ["a"], "sub_test": [], "sub_val": ["a"], "all": ["a"]}
    content = {"split": split, "annotations": [annotation()]}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    found, sequences, rejected = read(tmp_path)
    assert sequences[0].parts == {"given": "train", "given1": "test"}
    assert found.default_split == "given"
    assert all(one.left_out for one in rejected)
    told = zip(("sub_val", '"all"', "split sub names no annotation"), rejected, strict=True)
    assert all(what in one.reason for what, one in told)
    content["split"] = {"xsub_train": ["a.skeleton"], "xsub_val": []}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r'names no .*has "a\.skeleton", and a frame_dir is "a"'):
        read(tmp_path)


def test_half_precision_and_fortran_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    samples = [writers.two(rng, frames, 25) for frames in (9, 8, 7, 6)]
    for protocol in (2, 5):
        content = pickle.dumps(pyskl(np.float16, samples, fortran=True), protocol)
        (tmp_path / "a.pkl").write_bytes(content)
        _, sequences, rejected = read(tmp_path)
        assert not rejected
        for one, joints in zip(sequences, samples, strict=True):
            assert np.array_equal(one.joints, joints.astype(np.float16).astype(np.float32))
