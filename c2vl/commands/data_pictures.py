"""What ``c2vl data layouts`` and ``c2vl data view`` do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from c2vl.drawing.figure import (
    CENTRE,
    LEFT,
    RIGHT,
    layout_figure,
    mean_pose,
    side_colours,
)
from c2vl.drawing.recording import Caption, find_sequence, record
from c2vl.skeletons.layout import LAYOUTS, JointLayout, get_layout
from c2vl.skeletons.layout_files import layout_yaml, read_layout
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from c2vl.support.files import replacing
from c2vl.support.remote import Location, is_url

_SENSORS = {
    "ntu25": "Kinect v2: NTU RGB+D, PKU-MMD",
    "kinect20": "Kinect v1: UTD-MHAD's order",
    "nwucla20": "Kinect v1: NW-UCLA's order",
    "msr20": "Kinect v1: MSR-Action3D's order",
    "kinect15": "Kinect v1 with OpenNI: CAD-60's order",
    "smpl22": "SMPL without hands: HumanML3D, AMASS",
    "kit21": "Master Motor Map: KIT-ML",
    "h36m17": "Human3.6M: lifted from video",
    "coco17": "COCO: 2D detectors",
    "openpose25": "OpenPose BODY_25",
    "mediapipe33": "MediaPipe Pose (BlazePose)",
}


def show_layouts(name: str | None, out: Path | None, console: Console | None = None) -> None:
    """Print the built-in layouts, or the joints of one.

    Args:
        name: a built-in layout, a layout's YAML file, or a store, whose mean pose is drawn then.
        out: draw the layout to this ``.png``, or write it to this ``.yaml``.

    Raises:
        UserError: there is no such layout, or ``out`` cannot be written.
    """
    console = console or Console()
    if name is None:
        if out is not None:
            raise UserError("--out: say which layout (c2vl data layouts NAME --out FILE.png)")
        table = Table("layout", "joints", "pairs", "centre", "sensor")
        for layout in LAYOUTS.values():
            table.add_row(
                layout.name,
                str(len(layout.joints)),
                str(len(layout.pairs)),
                layout.joints[layout.centre],
                _SENSORS[layout.name],
            )
        console.print(table)
        return
    if out is not None and out.suffix.lower() not in (".png", ".yaml"):
        raise UserError(f"--out {out}: end it in .png (a drawing) or .yaml (the layout as a file)")
    layout, pose = _named(name, posed=out is not None)
    console.print(_joints(layout))
    if out is not None and out.suffix.lower() == ".png":
        figure = layout_figure(layout, pose)
        with replacing(out) as file:
            figure.savefig(file, format="png", dpi=130)
    elif out is not None:
        with replacing(out) as file:
            file.write(layout_yaml(layout).encode("utf-8"))
    if out is not None:
        console.print(Text(f"{out}: {layout.name}, {len(layout.joints)} joints"))


def view(store: Location, sequence: str, out: Path, captions: Location | None) -> str:
    """Draw one sequence of a store to a GIF or to a page that plays it.

    Args:
        sequence: its id, or its row number from 0.
        out: ``.gif`` or ``.html``.

    Returns:
        What was drawn, in a line.

    Raises:
        UserError: there is no such store, sequence or caption, or ``out`` cannot be written.
    """
    kind = out.suffix.lower()
    if kind not in (".gif", ".html"):
        raise UserError(f"{out}: end it in .gif (an animation) or .html (a page that plays it)")
    opened = Store.open(store)
    position = find_sequence(opened, sequence)
    told: tuple[Caption, ...] = ()
    if captions is not None:
        from c2vl.prompts.rules.timeline import timeline
        from c2vl.prompts.table import ConceptTable

        told = timeline(ConceptTable.open(captions), opened, position)
    recording = record(opened, position, told)
    frames = recording.joints.shape[1]
    what = f"{recording.id} ({recording.title}), {frames} frames, {frames / recording.fps:.1f} s"
    if kind == ".gif":
        from c2vl.drawing.animation import write_gif

        drawn = write_gif(recording, out)
        what += "" if drawn == frames else f", {drawn} of them drawn"
    else:
        from c2vl.drawing.player import write_html

        write_html(recording, out)
    return f"{out}: {what}" + (f", {len(told)} captions" if told else "")


def _named(name: str, *, posed: bool) -> tuple[JointLayout, NDArray[np.float64] | None]:
    if name in LAYOUTS:
        return LAYOUTS[name], None
    path = Path(name)
    if is_url(name) or path.is_dir():
        store = Store.open(name)
        return store.layout, mean_pose(store) if posed else None
    if path.is_file() or path.suffix.lower() in (".yaml", ".yml"):
        return read_layout(path), None
    return get_layout(name), None


def _joints(layout: JointLayout) -> Table:
    table = Table("", "joint", "parent", "mirror", "", title=Text(layout.name))
    words = {LEFT: "left", RIGHT: "right", CENTRE: ""}
    colours, mirrored = side_colours(layout), layout.mirrored
    for number, joint in enumerate(layout.joints):
        parent, other = layout.parents[number], mirrored[number]
        notes = [words[colours[number]]] if words[colours[number]] else []
        notes += ["root"] * (parent == number) + ["centre"] * (layout.centre == number)
        notes += ["shoulder"] * (number in layout.shoulders)
        table.add_row(
            str(number),
            Text(joint, style=colours[number] if colours[number] != CENTRE else ""),
            Text("" if parent == number else f"{parent} {layout.joints[parent]}"),
            "" if other == number else str(other),
            ", ".join(notes),
        )
    return table
