"""A sequence as a player in a web page: one self-contained file, or a piece of a larger page."""

from __future__ import annotations

import json
from html import escape
from importlib import resources
from pathlib import Path

import numpy as np

from c2vl.drawing.figure import CENTRE, PITCH, YAW, bones, side_colours
from c2vl.drawing.recording import Recording
from c2vl.support.files import replacing

# nothing may be fetched: what the page shows is in it
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"


def player_code() -> str:
    """Return the styles and the script that every :func:`player_html` of a page needs, once."""
    here = resources.files("c2vl.drawing")
    css, js = (
        here.joinpath(f"player.{kind}").read_text(encoding="utf-8") for kind in ("css", "js")
    )
    return f"<style>\n{css}</style>\n<script>\n{js}</script>\n"


def player_html(recording: Recording, *, autoplay: bool = False) -> str:
    """Return a ``<section>`` that plays a recording: play and pause, scrub, drag to rotate.

    It works in any page that has :func:`player_code` before it, and any number of them do. Text is
    escaped. Positions are rounded to millimetres.

    Args:
        autoplay: start at once (but never for people who have asked for less motion).
    """
    joints, present = recording.joints, recording.present
    seen = joints[present].reshape(-1, 3)
    low, high = (1000 * np.percentile(seen, share, axis=0) for share in (0.2, 99.8))
    floor = 1000 * recording.floor
    low[1] = min(low[1], floor)
    whole = np.rint(1000 * joints.astype(np.float64)).astype(np.int64)
    items, fps = "", recording.fps
    for caption in recording.captions:
        window = f"{caption.start / fps:.1f} – {caption.stop / fps:.1f} s"
        items += f"<li><span>{window}</span>{escape(caption.text)}</li>\n"
    data = {
        "frames": joints.shape[1],
        "fps": fps,
        "autoplay": autoplay,
        "yaw": round(float(YAW), 4),
        "pitch": round(float(PITCH), 4),
        "middle": [round(float(value)) for value in (low + high) / 2],
        "size": [max(round(float(value)), 200) for value in high - low],
        "floor": round(floor),
        "bones": bones(recording.layout).tolist(),
        "colours": side_colours(recording.layout),
        "centre": CENTRE,
        "captions": [[caption.start, caption.stop] for caption in recording.captions],
        "bodies": [
            [
                frame.reshape(-1).tolist() if there else None
                for frame, there in zip(*body, strict=True)
            ]
            for body in zip(whole, present, strict=True)
        ],
    }
    last = joints.shape[1] - 1
    return f"""<section class="c2vl-player">
<h2>{escape(recording.title)}</h2>
<p>{escape(recording.id)} · {escape(recording.facts)}</p>
<canvas tabindex="0" title="drag to rotate, double click to look from the sensor again; \
space plays, arrow keys step"></canvas>
<div class="controls">
<button type="button" class="play">▶ Play</button>
<input type="range" min="0" max="{last}" value="0" aria-label="frame">
<select aria-label="speed"><option value="0.25">¼ ×</option><option value="0.5">½ ×</option>\
<option value="1" selected>1 ×</option><option value="2">2 ×</option></select>
<output></output>
</div>
{f"<ol>{chr(10)}{items}</ol>" if items else ""}
<script type="application/json">{_embedded(data)}</script>
<script>C2VLPlayer(document.currentScript.parentElement)</script>
</section>
"""


def write_html(recording: Recording, out: Path) -> None:
    """Write a page that plays a recording; it needs no other file and no network.

    Raises:
        UserError: the file cannot be written; an existing file is left unchanged.
    """
    title = escape(f"{recording.title} · {recording.id}")
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>body {{ margin: 24px auto; max-width: 760px; padding: 0 12px }}</style>
{player_code()}</head>
<body>
{player_html(recording, autoplay=True)}</body>
</html>
"""
    with replacing(out) as file:
        file.write(page.encode("utf-8"))


def _embedded(data: object) -> str:
    """Return JSON that cannot end the script element that it stands in."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
