"""Matplotlib figures as SVG inside a page: small, in the page's fonts, their marks tied to trials.

Every mark of a trial carries ``data-t="NUMBER"``, and its group the classes that the page colours;
the page's script lights up all marks of the trial under the pointer.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a name may hold a dollar sign
    "font.size": 11,
    "axes.edgecolor": "#9aa3af",
    "axes.labelcolor": "#4b5563",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eceff3",
    "grid.linewidth": 0.8,
    "xtick.color": "#9aa3af",
    "ytick.color": "#9aa3af",
    "xtick.labelcolor": "#4b5563",
    "ytick.labelcolor": "#4b5563",
    "legend.frameon": False,
}
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
DOTS, LINES = "dots", "lines"


def blank(width: int, height: int) -> Figure:
    """Return an empty figure; a unit of its text is a pixel of the page."""
    figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
    figure.patch.set_visible(False)
    return figure


def link(artist: Artist, kind: str, looks: str, trials: Iterable[int]) -> None:
    """Tie the marks of a collection to trials.

    Args:
        artist: of ``scatter``, or a LineCollection; no mark of it may be left undrawn.
        kind: DOTS or LINES.
        looks: class of the page that colours them; empty: they keep their own colours.
        trials: numbers, in the order of the marks.
    """
    artist.set_gid(f"{kind} {looks} @{','.join(map(str, trials))}")


def inline(figure: Figure, label: str) -> Markup:
    """Return the figure as an ``<svg>`` element.

    Args:
        figure: drawn under :data:`STYLE`.
        label: what it shows, for those who cannot see it; its identifiers are made of it too.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": label}):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for child in list(root):
        if child.tag == f"{SVG}metadata" or child.find(f"{SVG}style") is not None:
            root.remove(child)
    for group in root.iter(f"{SVG}g"):
        if "@" in (name := group.get("id", "")):
            _tie(group, name)
    _shrink(root)
    _scope(root, re.sub(r"\W+", "-", label))
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"viewBox": box, "role": "img", "aria-label": label})
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _tie(group: ElementTree.Element, name: str) -> None:
    looks, _, numbers = name.partition("@")
    del group.attrib["id"]
    group.set("class", looks.strip())
    defined = {id(path) for defs in group.iter(f"{SVG}defs") for path in defs}
    marks = [
        mark
        for mark in group.iter()
        if mark.tag in (f"{SVG}use", f"{SVG}path") and id(mark) not in defined
    ]
    kind, _, look = looks.strip().partition(" ")
    for mark, number in zip(marks, numbers.split(","), strict=True):
        mark.set("data-t", number)
        style = mark.attrib.pop("style", "")
        if not look and (found := re.search(r"(?:fill|stroke): (#\w+)", style)):
            mark.set("fill" if kind == DOTS else "stroke", found[1])
    for path in group.iter(f"{SVG}path"):
        if id(path) in defined:
            path.attrib.pop("style", None)


def _shrink(root: ElementTree.Element) -> None:
    """Round coordinates, let the page choose the font, drop the namespaces."""
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        digits = 1 if "data-t" in element.attrib else 2
        for key in ("d", "x", "y", "transform"):
            if key in element.attrib:
                element.set(key, _rounded(element.attrib[key], digits))
        if XLINK + "href" in element.attrib:
            element.set("href", element.attrib.pop(XLINK + "href"))
        if element.tag == "text":
            style = re.sub(r"font-family: [^;]*;? ?", "", element.get("style", ""))
            element.set("style", style)
        element.tail = None
        if element.tag != "text":
            element.text = None


def _rounded(text: str, digits: int) -> str:
    def short(found: re.Match[str]) -> str:
        return f"{float(found[0]):.{digits}f}".rstrip("0").rstrip(".")

    return re.sub(r"\s+", " ", re.sub(r"-?\d+\.\d+", short, text)).strip()


def _scope(root: ElementTree.Element, prefix: str) -> None:
    """Keep only identifiers that something refers to, under names that no other figure has."""
    text = " ".join(value for element in root.iter() for value in element.attrib.values())
    used = set(re.findall(r"#([\w.-]+)", text))
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "id" and value not in used:
                del element.attrib[key]
            elif key == "id":
                element.set(key, f"{prefix}-{value}")
            elif key in ("href", "clip-path", "style"):
                element.set(key, re.sub(r"(^|url\()#", rf"\1#{prefix}-", value))
