"""A sequence as an animated GIF: bodies, bones, floor, time bar, label and captions."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from c2vl.drawing.figure import FLOOR, INK, QUIET, bones, project, side_colours
from c2vl.drawing.recording import Recording
from c2vl.support.files import replacing

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST = 150  # frames drawn; a longer sequence is thinned out evenly
_INCHES, _DPI = (5.2, 5.6), 100
_LINES, _WIDE = 4, 68  # of a caption: lines, characters each


def write_gif(recording: Recording, out: Path) -> int:
    """Draw a recording to a GIF that plays at its own speed; the same input gives the same bytes.

    Args:
        out: the file; an existing file is replaced when the drawing is finished.

    Returns:
        How many frames were drawn: all, or an even selection from a long sequence.

    Raises:
        UserError: the file cannot be written.
    """
    from PIL.Image import Dither

    drawn, delays = schedule(recording.joints.shape[1], recording.fps)
    stage = _Stage(recording)
    pictures = [stage.draw(int(frame)) for frame in drawn]
    some = [pictures[place] for place in np.linspace(0, len(pictures) - 1, 4).astype(int)]
    palette = _beside(some).quantize(128)
    indexed = [picture.quantize(palette=palette, dither=Dither.NONE) for picture in pictures]
    with replacing(out) as file:
        indexed[0].save(
            file,
            format="GIF",
            save_all=True,
            append_images=indexed[1:],
            duration=delays,
            loop=0,
            optimize=False,
        )
    return len(drawn)


def schedule(frames: int, fps: float) -> tuple[NDArray[np.int64], list[int]]:
    """Return which frames are drawn, and for how many milliseconds each is shown."""
    drawn = np.unique(np.linspace(0, frames - 1, min(frames, _MOST)).round().astype(np.int64))
    # GIF counts hundredths of a second: round the sums, so that errors do not add up
    ends = np.round(np.append(drawn[1:], frames) * 100 / fps)
    delays = np.maximum(np.diff(ends, prepend=0), 2)  # browsers play shorter delays as 10
    return drawn, [10 * int(delay) for delay in delays]


class _Stage:
    """A figure that is redrawn for each frame."""

    def __init__(self, recording: Recording) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.collections import LineCollection
        from matplotlib.figure import Figure

        self.recording = recording
        self.present = recording.present
        self.bones = bones(recording.layout)
        colours = side_colours(recording.layout)
        self.colours = np.array([_rgba(colours[child]) for child, _ in self.bones])
        self.figure = Figure(figsize=_INCHES, dpi=_DPI)
        self.canvas = FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0.2, 1, 0.68))
        self.axes.set_axis_off()
        self.axes.set_aspect("equal")
        seen = recording.joints[self.present]
        grid, self.floor = _grid(seen, recording.floor), recording.floor
        lines = project(grid)[..., :2]
        flat = project(seen)[..., :2]  # outlying joints must not shrink the rest
        low = np.minimum(np.percentile(flat, 0.2, axis=(0, 1)), lines.min(axis=(0, 1)))
        high = np.maximum(np.percentile(flat, 99.8, axis=(0, 1)), lines.max(axis=(0, 1)))
        margin = 0.06 * float((high - low).max()) + 1e-3
        self.axes.set_xlim(low[0] - margin, high[0] + margin)
        self.axes.set_ylim(low[1] - margin, high[1] + margin)
        self.axes.add_collection(
            LineCollection(list(lines), colors=FLOOR, linewidths=0.8, zorder=0)
        )
        self.shadow = LineCollection([], colors="#b6bdc7", linewidths=2.5, alpha=0.6, zorder=1)
        self.body = LineCollection([], capstyle="round", zorder=2)
        self.axes.add_collection(self.shadow)
        self.axes.add_collection(self.body)
        self.dots = self.axes.scatter([], [], zorder=3)
        title = textwrap.shorten(recording.title, _WIDE * 2 // 3, placeholder=" …")
        self._text(0.04, 0.945, title, size=13, weight="bold")
        facts = textwrap.wrap(f"{recording.id} · {recording.facts}", _WIDE + 8)[:2]
        self._text(0.04, 0.93, "\n".join(facts), size=8.5, color=QUIET).set_va("top")
        self.caption = self._text(0.04, 0.175, "", size=9.2)
        self.caption.set(va="top", linespacing=1.25)
        self.clock = self._text(0.96, 0.045, "", size=8, color=QUIET)
        self.clock.set_ha("right")
        bar = self.figure.add_axes((0.04, 0.025, 0.92, 0.008))
        bar.set_axis_off()
        bar.set_xlim(0, 1)
        bar.set_ylim(0, 1)
        bar.barh(0.5, 1, height=1, color=FLOOR)
        (self.bar,) = bar.barh(0.5, 0, height=1, color=INK)

    def draw(self, frame: int) -> Image:
        """Return the picture of a frame."""
        from PIL import Image

        recording, frames = self.recording, self.recording.joints.shape[1]
        bodies = [body for body in range(len(self.present)) if self.present[body, frame]]
        joints = recording.joints[bodies, frame].astype(np.float64)
        points = project(joints)
        fallen = joints.copy()
        fallen[..., 1] = self.floor
        self.shadow.set_segments(list(project(fallen)[:, self.bones, :2].reshape(-1, 2, 2)))
        segments = points[:, self.bones].reshape(-1, 2, 3)
        order = np.argsort(segments[..., 2].mean(axis=-1), kind="stable")  # the nearest comes last
        colours = np.concatenate([_paler(self.colours, body) for body in bodies] or [self.colours])
        self.body.set_segments(list(segments[order, :, :2]))
        self.body.set_color(list(colours[order]) if len(order) else [])
        self.body.set_linewidth(4)
        dots = points[..., :2].reshape(-1, 2)
        self.dots.set_offsets(dots)
        self.dots.set_sizes([9] * len(dots))
        self.dots.set_facecolor("white")
        self.dots.set_edgecolor(INK)
        self.dots.set_linewidth(0.6)
        playing = recording.playing(frame)
        words = textwrap.wrap(playing.text, _WIDE) if playing else []
        if len(words) > _LINES:
            words = [*words[: _LINES - 1], words[_LINES - 1][: _WIDE - 2] + " …"]
        self.caption.set_text("\n".join(words))
        fps = recording.fps
        self.clock.set_text(
            f"frame {frame + 1} of {frames}   {frame / fps:.1f} of {frames / fps:.1f} s"
        )
        self.bar.set_width((frame + 1) / frames)
        self.canvas.draw()
        return Image.fromarray(np.asarray(self.canvas.buffer_rgba())).convert("RGB")

    def _text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float,
        color: str = INK,
        weight: str = "normal",
    ) -> Any:
        shown = self.figure.text(x, y, text, fontsize=size, color=color, fontweight=weight)
        shown.set_parse_math(False)
        return shown


def _grid(seen: NDArray[np.float32], height: float) -> NDArray[np.float64]:
    """Return lines (n, 2, 3) of a floor that all joints (k, V, 3) stand on, half a metre apart."""
    low, high = (np.percentile(seen[..., [0, 2]], share, axis=(0, 1)) for share in (0.5, 99.5))
    step = max(0.5, float((high - low).max()) / 20)
    low, high = step * np.floor(low / step - 0.3), step * np.ceil(high / step + 0.3)
    lines = []
    for axis in (0, 1):
        for at in np.arange(low[axis], high[axis] + step / 2, step):
            ends = np.array([low, high])
            ends[:, axis] = at
            lines.append(np.insert(ends, 1, height, axis=1))
    return np.array(lines)


def _rgba(colour: str) -> tuple[float, float, float, float]:
    from matplotlib.colors import to_rgba

    red, green, blue, alpha = to_rgba(colour)
    return red, green, blue, alpha


def _paler(colours: NDArray[np.float64], body: int) -> NDArray[np.float64]:
    """Return the colours of a body: the first has them as they are, others mixed with white."""
    mixed = colours.copy()
    if body:
        mixed[:, :3] += 0.45 * (1 - mixed[:, :3])
    return mixed


def _beside(pictures: list[Image]) -> Image:
    """Put pictures side by side (to find colours that serve all of them)."""
    from PIL import Image

    width, height = pictures[0].size
    row = Image.new("RGB", (width * len(pictures), height))
    for place, picture in enumerate(pictures):
        row.paste(picture, (place * width, 0))
    return row
