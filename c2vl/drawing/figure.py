"""What drawings of skeletons share, and the picture of a joint layout.

Joints are in the sensor's right-handed space: x to the sensor's left, y up, z away from it. On
screen, right is -x and z points away from the viewer, so that people are seen as the sensor saw
them, not mirrored: who faces it has the left hand on the right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from c2vl.skeletons.layout import JointLayout
from c2vl.skeletons.preprocess import preprocess

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from c2vl.skeletons.store import Store

Floats = NDArray[np.floating]

LEFT, RIGHT, CENTRE = "#d9772b", "#2f6fb5", "#4b5563"
INK, QUIET, FLOOR = "#1f2937", "#6b7280", "#dfe3e8"
YAW, PITCH = np.radians(20.0), np.radians(10.0)  # a little from the side and from above

_MEAN_OF = 500  # sequences, spread over the store, that a mean pose is taken from


def side_colours(layout: JointLayout) -> list[str]:
    """Return a colour for each joint (and for the bone to its parent): left, right, centre."""
    colours = [CENTRE] * len(layout.joints)
    for left, right in layout.pairs:
        colours[left], colours[right] = LEFT, RIGHT
    return colours


def bones(layout: JointLayout) -> NDArray[np.int64]:
    """Return the (V - 1, 2) bones as (joint, parent)."""
    pairs = [(child, parent) for child, parent in enumerate(layout.parents) if child != parent]
    return np.array(pairs, dtype=np.int64)


def project(points: Floats, yaw: float = YAW, pitch: float = PITCH) -> NDArray[np.float64]:
    """Look at points from the sensor's side.

    Args:
        points: (..., 3) metres.
        yaw: turn about the vertical, radians; positive shows more of the person's left side.
        pitch: from above when positive.

    Returns:
        (..., 3): right, up, and nearness to the viewer, metres (parallel projection).
    """
    x, y, z = np.moveaxis(np.asarray(points, dtype=np.float64) * (-1, 1, -1), -1, 0)
    x, z = np.cos(yaw) * x - np.sin(yaw) * z, np.sin(yaw) * x + np.cos(yaw) * z
    return np.stack(
        [x, np.cos(pitch) * y - np.sin(pitch) * z, np.sin(pitch) * y + np.cos(pitch) * z], axis=-1
    )


def mean_pose(store: Store) -> NDArray[np.float64]:
    """Return the (V, 3) mean pose of a store's first bodies, shoulders parallel to x."""
    step = max(1, len(store) // _MEAN_OF)
    poses = []
    for position in range(0, len(store), step):
        body = store.joints(position)[:1]
        if body.any():
            poses.append(preprocess(body, store.layout, frames=8)[0].mean(axis=0))
    return np.asarray(np.mean(poses, axis=0), dtype=np.float64)


def neutral_pose(layout: JointLayout) -> NDArray[np.float64]:
    """Place the joints of any layout, (V, 3), by its bones and pairs alone; names play no part.

    The walk starts where the shoulders' limbs meet. Left and right shoulders go to their sides and
    the arms down and outwards from there; of the branches without a side the largest is the trunk
    and goes down, the others (neck and head) go up; limbs on the trunk are legs. Bones are of
    like length, shorter towards the ends of long limbs, and several branches fan out.
    """
    count = len(layout.joints)
    near: list[list[int]] = [[] for _ in range(count)]
    for child, parent in bones(layout):
        near[child].append(int(parent))
        near[parent].append(int(child))
    side = np.zeros(count)
    for left, right in layout.pairs:
        side[left], side[right] = -1, 1
    left, right = layout.shoulders
    side[left], side[right] = -1, 1
    between = _path(near, left, right)
    top = next((joint for joint in between if side[joint] == 0), between[len(between) // 2])

    def size(joint: int, origin: int) -> int:
        reached, stack = 0, [(joint, origin)]
        while stack:
            here, before = stack.pop()
            reached += 1
            stack += [(other, here) for other in near[here] if other != before]
        return reached

    branches = [joint for joint in near[top] if side[joint] == 0]
    trunk = max(branches, key=lambda joint: size(joint, top), default=-1)
    pose = np.zeros((count, 3))
    # joint, where it comes from, its part, its direction, its distance from there, its side
    todo: list[tuple[int, int, str, float, float, float]] = []

    def branch_out(here: int, before: int, part: str, angle: float, length: float) -> None:
        following = [joint for joint in near[here] if joint != before]
        straight = [joint for joint in following if side[joint] == side[here]]
        for joint in following:
            lateral = side[joint] or side[here]
            if here == top:
                if joint in layout.shoulders:
                    todo.append((joint, here, "arm", 80, 0.85, lateral))
                elif side[joint]:
                    todo.append((joint, here, "leg", 30, 1, lateral))
                else:
                    down = joint == trunk
                    todo.append((joint, here, "trunk" if down else "head", 0, 1, 0))
            elif side[joint] and not side[here]:  # a limb leaves the middle
                leg = part == "trunk"
                todo.append((joint, here, "leg" if leg else part, 50, 0.7, lateral))
            else:
                middle = (len(straight) - 1) / 2
                fan = 45 * (straight.index(joint) - middle) if joint in straight else 0
                ahead = {"arm": 32, "leg": 6}.get(part, angle)
                shorter = length if part in ("trunk", "leg") else max(0.45, 0.9 * length)
                todo.append((joint, here, part, ahead + fan, shorter, lateral))

    branch_out(top, -1, "top", 0, 1)
    while todo:
        joint, before, part, angle, length, lateral = todo.pop()
        turn = np.radians(angle)
        up = 1 if part == "head" else -1
        outwards = (lateral or 1) * np.sin(turn)
        pose[joint] = pose[before] + length * np.array([outwards, up * np.cos(turn), 0])
        branch_out(joint, before, part, angle, length)
    return pose


def layout_figure(layout: JointLayout, pose: Floats | None = None) -> Figure:
    """Draw a layout: joints numbered from 0 as in its arrays, and named at the margins.

    Args:
        pose: (V, 3) joints, seen by the sensor; the neutral pose when not given.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    flat = project(neutral_pose(layout) if pose is None else pose, yaw=0, pitch=0)[:, :2]
    low, high = flat.min(axis=0), flat.max(axis=0)
    size = max(float((high - low).max()), 1e-6)
    flat = (flat - (low + high) / 2) / size  # within ±0.5
    colours, count = side_colours(layout), len(layout.joints)
    columns = _columns(layout, flat)
    rows = max(len(column) for column in columns)
    figure = Figure(figsize=(11, max(6.5, 0.3 * rows + 1.4)))
    axes = figure.add_axes((0, 0.03, 1, 0.87))
    axes.set_axis_off()
    axes.set_xlim(-1.2, 1.2)
    axes.set_ylim(-0.58, 0.58)
    segments = flat[bones(layout)]
    bone_colours = [colours[child] for child, _ in bones(layout)]
    axes.add_collection(
        LineCollection(list(segments), colors=bone_colours, linewidths=4, alpha=0.55, zorder=2)
    )
    for column, sign in zip(columns, (-1, 1), strict=True):
        heights = np.linspace(0.5, -0.5, len(column)) if len(column) > 1 else [0.0]
        for joint, height in zip(column, heights, strict=True):
            at, colour = 0.66 * sign, colours[joint]
            xs, ys = (flat[joint, 0], at - 0.08 * sign, at), (flat[joint, 1], height, height)
            axes.plot(xs, ys, color=colour, linewidth=0.7, alpha=0.45, zorder=1)
            label = axes.text(at + 0.015 * sign, height, _label(layout, joint), color=colour)
            label.set(fontsize=9, va="center", ha="left" if sign > 0 else "right")
            label.set_parse_math(False)
    axes.scatter(
        flat[:, 0], flat[:, 1], s=190, c=colours, edgecolors="white", linewidths=1.2, zorder=3
    )
    for joint, (x, y) in enumerate(flat):
        digits = axes.text(x, y, str(joint), color="white", fontsize=7, zorder=4)
        digits.set(fontweight="bold", va="center_baseline", ha="center")
    title = figure.text(0.5, 0.955, f"{layout.name}: {count} joints, numbered from 0", color=INK)
    title.set(ha="center", fontsize=13)
    title.set_parse_math(False)
    legend = (("left", LEFT, 0.365), ("right", RIGHT, 0.41), ("centre", CENTRE, 0.465))
    for word, colour, place in legend:
        figure.text(place, 0.915, word, color=colour, fontsize=10, fontweight="bold")
    seen = "a neutral pose" if pose is None else "the mean pose"
    figure.text(0.535, 0.915, f"{seen}, facing the viewer", color=QUIET, fontsize=10)
    return figure


def _label(layout: JointLayout, joint: int) -> str:
    roles = {"root": layout.parents[joint], "centre": layout.centre}
    notes = ", ".join(role for role, number in roles.items() if number == joint)
    return f"{joint}  {layout.joints[joint]}" + (f"  ({notes})" if notes else "")


def _columns(layout: JointLayout, flat: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """Divide the joints over the left and right margin of the page, each from top to bottom."""
    page_left: list[int] = []
    page_right: list[int] = []
    sided = {joint: number for pair in layout.pairs for number, joint in enumerate(pair)}
    for joint, number in sided.items():
        (page_left if number else page_right).append(joint)
    for joint in sorted(set(range(len(layout.joints))) - set(sided), key=lambda j: -flat[j, 1]):
        (page_left if len(page_left) <= len(page_right) else page_right).append(joint)

    def height(joint: int) -> tuple[float, float]:
        return -round(float(flat[joint, 1]), 3), abs(float(flat[joint, 0]))

    return sorted(page_left, key=height), sorted(page_right, key=height)


def _path(near: list[list[int]], start: int, end: int) -> list[int]:
    """Return the joints between two joints along the bones."""
    came = {start: start}
    queue = [start]
    for here in queue:
        for other in near[here]:
            if other not in came:
                came[other] = here
                queue.append(other)
    path = [came[end]]
    while path[-1] != start:
        path.append(came[path[-1]])
    return path[:-1] or [start]
