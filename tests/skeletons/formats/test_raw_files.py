from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from c2vl.skeletons.datasets import Options, Rejected, get_reader, read_item
from c2vl.skeletons.formats.raw_files import UnreadableError, list_files
from c2vl.support.errors import UserError
from tests.skeletons.datasets.writers import ntu_lines, person

NAME = "S001C001P001R001A001.skeleton"


def test_names_that_leave_the_archive_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in (
            *(f"../{NAME}", f"/{NAME}", f"a/../../{NAME}", f"\\{NAME}", f"..\\{NAME}"),
            *(f"__MACOSX/{NAME}", f".hidden/{NAME}", f"./ok/{NAME}", "folder/", ""),
        ):
            archive.writestr(zipfile.ZipInfo(name), "0")
    assert [file.name for file in list_files(path)] == [f"ok/{NAME}"]
    assert [file.name for file in list_files(tmp_path)] == [f"a.zip/ok/{NAME}"]


def test_files_behind_links_and_hidden_ones(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / NAME).write_text("0")
    (tmp_path / "gone.skeleton").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.skeleton")
    (tmp_path / NAME).write_text("0")
    assert [file.name for file in list_files(tmp_path)] == [NAME]


def test_a_zip_bomb_is_not_inflated(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(NAME, bytes(129 << 20))
    reader = get_reader("ntu60")
    (item,) = reader.discover(path, Options()).items
    (one,) = read_item(reader.read, item)
    assert isinstance(one, Rejected) and "larger than" in one.reason


def test_an_archive_that_lies_of_its_sizes(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(NAME, bytes(9 << 20))
    content = packed.getvalue().replace(struct.pack("<I", 9 << 20), struct.pack("<I", 100))
    (tmp_path / "a.zip").write_bytes(content)
    (file,) = list_files(tmp_path)
    assert file.size == 100
    with pytest.raises(UnreadableError, match=r"larger than|damaged"):
        file.read(1 << 20)


def test_members_that_reach_past_the_end(tmp_path: Path) -> None:
    """Python would allocate what the directory declares, here four gigabytes."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(NAME, "0")
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = b"\xff\xff\xff\xf0" * 2
    path.write_bytes(content)
    (file,) = list_files(tmp_path)
    with pytest.raises(UnreadableError, match="past the end of its archive"):
        file.open()
    assert file.start(10) == b""


@pytest.mark.parametrize("flag", [0x1, 0x40])
def test_encrypted_archives(tmp_path: Path, flag: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(NAME, "\n".join(ntu_lines(person(np.random.default_rng(0), 3, 25)[None])))
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= flag
    path.write_bytes(content)
    reader = get_reader("ntu60")
    (item,) = reader.discover(path, Options()).items
    (one,) = read_item(reader.read, item)
    assert isinstance(one, Rejected) and "cannot be read" in one.reason


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x05\x06" + bytes(18), bytes(100)])
def test_archives_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip|no file is named"):
        get_reader("ntu60").discover(tmp_path, Options())
