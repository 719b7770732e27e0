"""The demo set: generated motion in the NTU RGB+D ``.skeleton`` layout, with known classes.

A body is posed by forward kinematics from the curves of :mod:`.motions`, in the size
and style of its performer, then "seen" by a Kinect: from some direction, with noise, drop-outs,
bodies that enter late, leave early or come back under another id. Nothing here is captured from
people, and every figure made with it says "demo (generated)".
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from c2vl.skeletons.demo.body import Build, place_joints
from c2vl.skeletons.demo.motions import CLASS_NAMES, ONE_PERSON, PARTS, TWO_PERSONS, Pose
from c2vl.skeletons.demo.ntu_files import TrackedBody, skeleton_text

VERSION = 1
"""Part of the manifest's fingerprint; raise it when the same seed would give other files."""


@dataclass(frozen=True)
class DemoSettings:
    """What to generate: each class by each subject, seen by each camera, repeated.

    Attributes:
        seed: decides everything.
        subjects: performers 1..subjects; odd ones train, even ones test.
        cameras: directions of view.
        replications: performances for each class, subject and camera.
        frames: shortest and longest sequence.
    """

    seed: int = 0
    subjects: int = 8
    cameras: int = 2
    replications: int = 2
    frames: tuple[int, int] = (40, 90)

    def fingerprint(self) -> str:
        """Return what the files depend on, as text."""
        return f"demo v{VERSION} {sorted(asdict(self).items())}"


def generate(folder: Path, settings: DemoSettings) -> list[Path]:
    """Write the demo set's ``.skeleton`` files.

    Args:
        settings: what to write; the same settings give the same bytes.

    Returns:
        The files, sorted by name.
    """
    written = []
    for subject in range(1, settings.subjects + 1):
        performer = _performer(settings.seed, subject)
        for camera in range(1, settings.cameras + 1):
            for replication in range(1, settings.replications + 1):
                for label, action in enumerate(CLASS_NAMES):
                    key = (settings.seed, subject, camera, replication, label)
                    rng = np.random.default_rng(key)
                    bodies = _perform(action, performer, settings, camera, rng)
                    name = (
                        f"S{1 + (subject - 1) // 4:03d}C{camera:03d}P{subject:03d}"
                        f"R{replication:03d}A{label + 1:03d}.skeleton"
                    )
                    newline = "\r\n" if camera == 2 else "\n"
                    text = skeleton_text(bodies, newline)
                    (folder / name).write_bytes(text.encode("ascii"))
                    written.append(folder / name)
    return sorted(written)


@dataclass(frozen=True)
class _Performer:
    """A subject: the sizes of the body, and the manner of moving."""

    build: Build
    speed: float
    vigour: float
    posture: NDArray[np.float64]  # (parts, 3) radians, added to every pose
    left_handed: float  # probability


def _performer(seed: int, subject: int) -> _Performer:
    rng = np.random.default_rng((seed, subject))
    posture = np.zeros((len(PARTS), 3))
    posture[PARTS.index("spine"), 0] = rng.normal(-0.03, 0.06)
    for sign, side in ((1, "right"), (-1, "left")):
        posture[PARTS.index(f"{side}_shoulder")] = [
            rng.normal(0, 0.1),
            0,
            sign * rng.uniform(0, 0.35),
        ]
        posture[PARTS.index(f"{side}_elbow"), 0] = rng.uniform(0.05, 0.5)
        posture[PARTS.index(f"{side}_hip"), 2] = sign * rng.uniform(0, 0.15)
    return _Performer(
        build=Build.draw(rng),
        speed=rng.uniform(0.75, 1.35),
        vigour=rng.uniform(0.75, 1.2),
        posture=posture,
        left_handed=rng.choice([0.15, 0.85]),
    )


def _perform(
    action: str,
    performer: _Performer,
    settings: DemoSettings,
    camera: int,
    rng: np.random.Generator,
) -> list[TrackedBody]:
    """Perform an action once, as the sensor records it."""
    frames = int(rng.integers(settings.frames[0], settings.frames[1] + 1))
    on, phase = _timing(frames, performer, rng)
    poses = [_idle(frames, performer.posture, rng)]
    builds = [performer.build]
    if action in ONE_PERSON:
        ONE_PERSON[action](poses[0], on, phase)
    else:
        partner = _performer(settings.seed, 1000 + int(rng.integers(8)))
        poses.append(_idle(frames, partner.posture, rng))
        builds.append(partner.build)
        TWO_PERSONS[action](poses[0], poses[1], on, phase)
    if rng.random() < performer.left_handed:
        poses = [pose.mirrored() for pose in poses]
    worlds = [place_joints(pose, build) for pose, build in zip(poses, builds, strict=True)]
    return _look(worlds, camera, rng)


def _timing(
    frames: int, performer: _Performer, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw an action's begin, end, strength and cycles."""
    start = rng.uniform(0.0, 0.3)
    end = rng.uniform(0.7, 1.0)
    time = np.linspace(0, 1, frames)
    rise = rng.uniform(0.06, 0.15)
    on = np.clip((time - start) / rise, 0, 1) * np.clip((end - time) / rise, 0, 1)
    on = performer.vigour * rng.uniform(0.75, 1.15) * on * on * (3 - 2 * on)
    cycles = max(1.0, performer.speed * rng.uniform(0.75, 1.35) * frames * (end - start) / 26)
    progress = np.clip((time - start) / (end - start), 0, 1)
    pace = progress + rng.uniform(-0.06, 0.06) * np.sin(2 * np.pi * progress)
    return on, 2 * np.pi * cycles * pace


def _idle(frames: int, posture: NDArray[np.float64], rng: np.random.Generator) -> Pose:
    """Return the pose of standing: a drawn posture, with sway."""
    pose = Pose.standing(frames)
    pose.angles += posture + rng.normal(0, 0.05, posture.shape)
    sway = gaussian_filter1d(rng.normal(size=pose.angles.shape), 8, axis=0) * np.sqrt(2 * 8)
    pose.angles += 0.06 * sway
    for side in ("left", "right"):  # hands do something of their own
        if rng.random() < 0.4:
            pose.turn(f"{side}_elbow", x=rng.uniform(0.2, 1.3))
            pose.turn(f"{side}_shoulder", x=rng.uniform(-0.2, 0.4))
    drift = gaussian_filter1d(rng.normal(size=(frames, 3)), 12, axis=0, mode="nearest")
    pose.place += drift * np.array([0.05, 0.0, 0.05]) * np.sqrt(2 * 12)
    return pose


def _look(
    worlds: list[NDArray[np.float64]], camera: int, rng: np.random.Generator
) -> list[TrackedBody]:
    """Record a scene: place and direction before the sensor, noise, bodies lost and found."""
    frames = len(worlds[0])
    yaw = rng.uniform(-0.9, 0.9) + (0.5 if camera == 2 else 0.0)
    if len(worlds) == 2:  # face to face, across the view
        apart = rng.uniform(0.9, 1.2)
        worlds[0] = worlds[0] + np.array([0, 0, apart / 2])
        worlds[1] = (worlds[1] + np.array([0, 0, apart / 2])) * np.array([-1.0, 1.0, -1.0])
        yaw += np.pi / 2
    cos, sin = np.cos(yaw), np.sin(yaw)
    turn = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    place = np.array([rng.uniform(-0.4, 0.4), -0.9 + rng.normal(0, 0.05), rng.uniform(2.6, 3.6)])
    seen = []
    for number, world in enumerate(worlds):
        joints = world @ turn + place
        joints += _noise(joints.shape, rng)
        there = np.ones(frames, dtype=bool)
        if number == 1 or (len(worlds) == 2 and rng.random() < 0.2):
            late, early = rng.integers(0, max(frames // 6, 1), 2)
            there[:late] = False
            there[frames - early :] = False
        elif rng.random() < 0.15:  # the sensor needs a moment to find the only person
            there[: int(rng.integers(1, 5))] = False
        seen += _tracked(joints, there, rng)
    return seen


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the sensor's errors, metres: jitter, slow drift, and limbs lost for a while."""
    jitter = rng.normal(0, rng.uniform(0.006, 0.015), shape)
    slow = gaussian_filter1d(rng.normal(size=shape), 5, axis=0) * np.sqrt(2 * 5)
    noise: NDArray[np.float64] = jitter + rng.uniform(0.01, 0.03) * slow
    for limb in ((5, 6, 7, 21, 22), (9, 10, 11, 23, 24), (13, 14, 15), (17, 18, 19)):
        if rng.random() < 0.15:
            start = int(rng.integers(0, shape[0]))
            end = start + int(rng.integers(4, 16))
            wrong = rng.normal(0, 0.08, 3) + rng.normal(0, 0.03, (len(noise[start:end]), 1, 3))
            noise[start:end, limb] += wrong
    return noise


def _tracked(
    joints: NDArray[np.float64], there: NDArray[np.bool_], rng: np.random.Generator
) -> list[TrackedBody]:
    """Give the body an id, sometimes a second one after a gap of a few frames."""
    first = 72057594037927936 + int(rng.integers(1, 30000))
    frames = np.flatnonzero(there)
    if rng.random() < 0.15 and len(frames) > 36:
        cut = int(rng.integers(14, len(frames) - 18))
        gap = int(rng.integers(1, 4))
        before, after = frames[:cut], frames[cut + gap :]
        return [
            TrackedBody(first, before, joints[before]),
            TrackedBody(first + int(rng.integers(1, 9)), after, joints[after]),
        ]
    return [TrackedBody(first, frames, joints[frames])]
