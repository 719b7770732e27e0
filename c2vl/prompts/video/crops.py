"""Vision prompts: square pictures of the person, stored in tar files that are read by offset."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from c2vl.prompts.video.persons import Box
from c2vl.skeletons.rejected import RejectedError
from c2vl.support.errors import UserError
from c2vl.support.files import replacing

if TYPE_CHECKING:
    from PIL.Image import Image

Format = Literal["jpeg", "webp"]
_QUALITY = 90


def fill(boxes: Sequence[Box | None]) -> list[Box]:
    """Give frames in which nobody is found the box of the nearest frame that has one.

    Raises:
        RejectedError: no frame has one.
    """
    seen = [i for i, box in enumerate(boxes) if box is not None]
    if not seen:
        raise RejectedError(f"no person is found in any of {len(boxes)} frames")
    nearest = [min(seen, key=lambda j: abs(i - j)) for i in range(len(boxes))]
    return [box for j in nearest if (box := boxes[j]) is not None]


def crop(image: Image, box: Box, *, margin: float, size: int) -> Image:
    """Cut out a box with a margin, padded with black to a square.

    Args:
        margin: share of the box's longer side that is added on each side, within the picture.
    """
    from PIL import Image as Pictures

    extra = margin * max(box[2] - box[0], box[3] - box[1])
    left, top = max(0, int(box[0] - extra)), max(0, int(box[1] - extra))
    right = min(image.width, max(left + 1, round(box[2] + extra)))
    bottom = min(image.height, max(top + 1, round(box[3] + extra)))
    left, top = min(left, right - 1), min(top, bottom - 1)
    part = image.crop((left, top, right, bottom))
    side = max(part.size)
    square = Pictures.new("RGB", (side, side))
    square.paste(part, ((side - part.width) // 2, (side - part.height) // 2))
    return square.resize((size, size), Pictures.Resampling.BICUBIC)


def encode(image: Image, format: Format) -> bytes:
    """Return the bytes of a picture file."""
    image.save(data := io.BytesIO(), format=format.upper(), quality=_QUALITY)
    return data.getvalue()


def write_shard(path: Path, pictures: dict[str, bytes]) -> dict[str, int]:
    """Write pictures as a tar file, the same bytes for the same pictures.

    Args:
        path: the file; it appears when it is whole.
        pictures: name in the archive → bytes.

    Returns:
        Where each picture's bytes begin in the file.
    """
    with replacing(path) as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, data in pictures.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            return {info.name: info.offset_data for info in archive.getmembers()}


def read_crop(path: Path, offset: int, length: int) -> bytes:
    """Return one picture's bytes.

    Raises:
        UserError: the file is not there or too short.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); it holds crops") from None
    if len(data) != length:
        raise UserError(f"{path}: ends before its crops; delete it and run `c2vl prompts video`")
    return data
