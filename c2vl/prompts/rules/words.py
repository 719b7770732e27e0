"""Graded phrases: a number to the phrase of its grade."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grades:
    """Phrases with the bounds between them.

    Attributes:
        bounds: rising; a value at a bound belongs above it.
        phrases: one more than bounds; an empty one goes without saying.
    """

    bounds: tuple[float, ...]
    phrases: tuple[str, ...]


def grades(text: str) -> Grades:
    """Read grades as they are written below: phrases with ``<bound>`` between them."""
    parts = re.split(r"\s*<(.+?)>\s*", text)
    return Grades(tuple(float(bound) for bound in parts[1::2]), tuple(parts[::2]))


def phrase(grades: Grades, value: float) -> str:
    """Return the phrase of a value's grade."""
    return grades.phrases[bisect_right(grades.bounds, value)]


HEIGHT = grades(
    "near the floor <-0.9> at knee height <-0.4> down by the thigh <0.1> at hip height <0.4> at "
    "waist height <0.75> at chest height <1.05> at shoulder height <1.35> at face height <1.7> "
    "above the head <2.1> high above the head"
)
FORWARD = grades(
    "behind the back <-0.2> <0.25> in front <0.5> reaching forward <0.75> stretched far forward"
)
OUTWARD = grades(
    "far across the body on the other side <-0.35> across the middle of the body <-0.05> <0.2> "
    "<0.5> out to the side <0.75> stretched wide to the side"
)
ELBOW = grades("folded tightly <60> bent sharply <90> bent <125> slightly bent <150> straight")
PACE_OF_HAND = grades(
    "is still <0.25> drifts <0.7> moves gently <1.5> moves <3> sweeps fast <5> is flung very fast"
)
KNEE = grades(
    "knees folded in a deep crouch <85> knees bent in a low squat <110> knees well bent <135> "
    "knees bent <155> knees soft <167> legs straight"
)
LOOPS = grades(
    "a full round counter-clockwise circle over the top to the left <-0.55> a counter-clockwise "
    "loop to the left <-0.3> a slightly counter-clockwise curve <-0.12> a line that goes back "
    "over itself <0.12> a slightly clockwise curve <0.3> a clockwise loop to the right <0.55> a "
    "full round clockwise circle over the top to the right"
)
REACH = grades(
    "hardly forward <0.3> a little forward <0.5> forward <0.7> far forward <0.85> fully "
    "stretched forward"
)
WIDE = grades(
    "close in <0.3> beside the body <0.5> out to the side <0.7> wide out <0.9> at full stretch "
    "sideways"
)
PEAK = grades("slow throughout <2> calm <3.5> brisk <5.5> fast <8> explosive")
REPEATS = grades(
    "one single stroke <1> a move there and back once <2> two turns back <3> three turns back "
    "<4> repeated swinging <6> many quick repetitions <8> very many rapid repetitions"
)
RANGE = grades(
    "stays as it is <25> bends a little <50> bends <80> bends deeply <110> folds and unfolds fully"
)
SINK = grades(
    "stands tall throughout <0.05> dips a little <0.1> dips and comes up again <0.2> squats and "
    "stands up again <0.35> squats deeply down and stands up again"
)
LEAN = grades(
    "upright <6> tipping slightly <12> leaning forward <22> bending forward <40> bowing far down"
)
TURN = grades(
    "turning far to the right <-45> turning to the right <-25> turning slightly to the right "
    "<-12> facing ahead <12> turning slightly to the left <25> turning to the left <45> turning "
    "far to the left"
)
STEP = grades("no step <0.12> a small step <0.25> a step <0.45> a long lunge")
ACROSS = grades(
    "far over to the other side <-0.5> across the body <-0.25> to the middle <0> never across"
)
WHO = grades(
    "the left hand works alone <-1.5> the left hand leads and the right helps <-0.5> both hands "
    "work together <0.5> the right hand leads and the left helps <1.5> the right hand works "
    "with the left nearly at rest <2.7> the right hand works alone"
)
CIRCLES = grades(
    "a full circle leftwards against the clock <0> a full clockwise circle like a wheel rolling "
    "to the right"
)
CORNERS = grades(
    "smooth and rounded <1> with one sharp corner <2> with two sharp corners <3> angular with "
    "three sharp corners <4> zigzag with many sharp corners"
)
PROFILE = grades(
    "scooping underhand <-0.25> slightly scooping <-0.1> flat in profile <0.1> slightly arched "
    "forward <0.25> arching overhand <0.5> swinging overhand over the shoulder"
)
ROOM = grades("barely <0.12> a little <0.25> moderately <0.45> widely <0.7> very widely")
TEMPO = grades("unhurried <0.6> steady <1.2> lively <2> rapid <3> very rapid")
PACE = grades("strolling <1.3> walking <2> walking briskly <2.7> jogging")
COUNT = grades("a few steps <4> several steps <6> many steps <8> very many steps")

# What follows is said by the richer rules alone.
STROKES = (
    "to the right",
    "up to the right",
    "straight up",
    "up to the left",
    "to the left",
    "down to the left",
    "straight down",
    "down to the right",
)
"""Directions a person sees, counter-clockwise from the right."""
PROFILE_STROKES = (
    "forward",
    "up and forward",
    "straight up",
    "up and back",
    "back",
    "down and back",
    "straight down",
    "down and forward",
)
"""Directions seen from the right side of a person, from forward over up."""
LEVEL = grades(
    "low at the floor <-0.9> low by the knees <-0.4> hanging down by the thigh <0.15> at the hips "
    "<0.5> at the belly <0.85> at the chest <1.1> at the shoulders <1.4> at the face <1.75> above "
    "the head"
)
ASIDE = grades("across on the other side <-0.2> before the body <0.05> <0.5> out to the side")
AHEAD = grades("behind the back <-0.2> <0.35> in front <0.65> stretched out in front")
BENT = grades("deeply bent <100> bent <140> a little bent <160> straight")
STAND = grades("sits low <0.62> is half down <0.8> stands")
DEPTH = grades("deep down <0.78> a little down")
HANDS_APART = grades(
    "together <0.3> near each other <0.6> shoulder-wide apart <1.0> apart <1.6> spread wide"
)
BURST = grades("even <1.8> with a swell <2.6> with a sudden burst <3.5> with one jerk")
WHEN = grades("early <0.42> midway <0.58> late")
LASTING = grades("a moment <0.9> a second <1.6> two seconds <2.5> several seconds <4> long")
FOREARM = grades(
    "the forearm turns about a still elbow <0.3> the forearm swings more than the upper arm <0.45> "
    "the whole arm swings <0.62> the arm moves stiffly from the shoulder"
)
ELBOW_HEIGHT = grades(
    "the elbow hangs low <-0.45> the elbow is held half up <-0.2> the elbow is raised to the "
    "shoulder <0.1> the elbow is above the shoulder"
)
BEND = grades("bends back <-8> stays upright <10> leans forward <25> bends far forward")
TILT = grades("tilted to the left <-10> <10> tilted to the right")
SHOULDERS = grades(
    "turn far to the right <-40> turn to the right <-18> keep facing ahead <18> turn to the left "
    "<40> turn far to the left"
)
LIFT = grades(
    "stays on the ground <0.06> is lifted a little <0.15> is lifted high <0.4> is kicked up"
)
FOOT_WAY = grades("backward <-0.15> <0.15> forward")
DISTANCE = grades("half a step <0.4> one step <0.9> a few steps")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


def count(number: int, noun: str) -> str:
    """Word a number of things: ``one stroke``, ``two strokes``, ``many strokes``."""
    said = _NUMBERS[number] if number < len(_NUMBERS) else "many"
    return f"{said} {noun}" if number == 1 else f"{said} {noun}s"


def directions(step: NDArray[np.float64], least: float) -> str:
    """Word the main directions of a displacement (right, up, forward); empty if it is short."""
    size = float(np.linalg.norm(step))
    if size < least:
        return ""
    words = (("right", "left"), ("up", "down"), ("forward", "back"))
    order = np.argsort(-np.abs(step))
    return " and ".join(
        words[axis][0 if step[axis] > 0 else 1] for axis in order if abs(step[axis]) > 0.5 * size
    )
