"""Frames of a span of video, by PyAV (FFmpeg in a wheel; decord is no longer maintained)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2vl.skeletons.rejected import RejectedError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Clip:
    """A sequence's span of a video.

    Attributes:
        start: first second, or first frame (from 0) where ``in_frames``.
        end: the second or frame after the last; None: to the end.
        in_frames: the span counts frames; the video's own rate turns them into seconds.
    """

    id: str
    video: Path
    start: float = 0.0
    end: float | None = None
    in_frames: bool = False


@dataclass(frozen=True)
class Frame:
    """One picture of a clip.

    Attributes:
        time: seconds in the video.
        share: where in the clip it lies, 0..1.
    """

    image: Image
    time: float
    share: float


def sample(clip: Clip, count: int) -> list[Frame]:
    """Return ``count`` frames in the middles of as many equal parts of the clip, in order.

    Frames repeat in a clip that has fewer of them.

    Raises:
        RejectedError: the video is not there, cannot be decoded, or ends before the span does.
    """
    import av

    if not clip.video.is_file():
        raise RejectedError(f"no such video: {clip.video}")
    try:
        with av.open(str(clip.video)) as container:
            if not container.streams.video:
                raise RejectedError(f"{clip.video.name}: holds no video")
            return _sample(clip, count, container, container.streams.video[0])
    except (av.FFmpegError, UnicodeDecodeError) as error:
        line = getattr(error, "strerror", None) or str(error)
        raise RejectedError(f"{clip.video.name}: cannot be decoded ({line})") from None


def _sample(clip: Clip, count: int, container: Any, stream: Any) -> list[Frame]:
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    length = _length(container, stream, rate)
    if rate <= 0 or length <= 0:
        raise RejectedError(f"{clip.video.name}: has no length or frame rate")
    unit = 1 / rate if clip.in_frames else 1.0
    start, end = clip.start * unit, length if clip.end is None else clip.end * unit
    if not 0 <= start < end:
        raise RejectedError(f"the span {start:.2f} to {end:.2f} s is empty")
    if end > length + 1.5 / rate:
        raise RejectedError(
            f"the span {start:.2f} to {end:.2f} s passes the end of {clip.video.name} "
            f"({length:.2f} s)"
        )
    shares = [(i + 0.5) / count for i in range(count)]
    wanted = [start + share * (end - start) for share in shares]
    found: list[Frame] = []
    last: tuple[float, Any] | None = None
    for time, picture in _decoded(container, stream, start):
        last = (time, picture)
        if time < wanted[len(found)] - 0.5 / rate:
            continue
        image = picture.to_image()
        while len(found) < count and time >= wanted[len(found)] - 0.5 / rate:
            found.append(Frame(image, time, shares[len(found)]))
        if len(found) == count:
            return found
    # The last instants wanted may lie within the last frame's own duration.
    if last is not None and wanted[-1] - last[0] < 2 / rate:
        image = last[1].to_image()
        return found + [Frame(image, last[0], share) for share in shares[len(found) :]]
    raise RejectedError(
        f"{clip.video.name}: only {len(found)} of {count} frames can be decoded; it is cut off"
    )


def _length(container: Any, stream: Any, rate: float) -> float:
    """Seconds of video, from what the container knows."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if container.duration:
        return float(container.duration) / 1_000_000
    return stream.frames / rate if stream.frames and rate else 0.0


def _decoded(container: Any, stream: Any, start: float) -> Iterator[tuple[float, Any]]:
    """Yield (seconds from the stream's start, frame), from a key frame at or before ``start``."""
    zero = float((stream.start_time or 0) * stream.time_base)
    stream.thread_type = "AUTO"
    if start > 0:
        container.seek(int((start + zero) / stream.time_base), stream=stream, backward=True)
    for frame in container.decode(stream):
        if frame.time is not None:
            yield frame.time - zero, frame
