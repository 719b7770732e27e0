"""Matplotlib figures as SVG inside a page: small, in the page's fonts, their marks tied to trials.

Every mark of a trial stands in ``<a data-t="NUMBER">``; the page's script lights up all marks of
the trial under the pointer.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.collections import Collection
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


_DOT = re.compile(r'<a data-t="(\d+)"><g clip-path="[^"]*">(<use [^>]*/>)</g></a>')
_DOTS = re.compile(
    r'<a data-t="\d+"><g clip-path="(?P<clip>[^"]*)"><use [^>]*/></g></a>'
    r'(?:<a data-t="\d+"><g clip-path="(?P=clip)"><use [^>]*/></g></a>)+'
)


def blank(width: int, height: int) -> Figure:
    """Return an empty figure; a unit of its text is a pixel of the page."""
    figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
    figure.patch.set_visible(False)
    return figure


def link(marks: Collection, trials: Iterable[int]) -> None:
    """Tie the marks of a scatter or a line collection to trials, in their order.

    Matplotlib writes each mark that has an address into an ``<a>`` of its own.
    """
    # One more than there are marks: a single address is not written for a single mark
    marks.set_urls([*(f"#{number}" for number in trials), None])


def inline(figure: Figure, label: str) -> Markup:
    """Return the figure as an ``<svg>`` element.

    Args:
        figure: drawn under :data:`STYLE`.
        label: what it shows, for those who cannot see it; no two figures of a page share it.
    """
    buffer = io.StringIO()
    # The salt makes the identifiers of clip paths and markers differ between a page's figures
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": label}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    box = re.search(r' viewBox="[^"]*"', svg)
    assert box is not None
    body = svg.partition("</style>")[2].partition("</defs>")[2].rpartition("</svg>")[0]
    body = re.sub(r'<a xlink:href="#(\d+)"[^>]*>', r'<a data-t="\1">', body)
    body = re.sub(r' id="(?!C[0-9a-f]+_)[\w.]+_\d+"', "", body)  # of groups: nothing refers to them
    body = re.sub(r"font-family: [^;\"]*(?:; )?", "", body)
    body = re.sub(r' (?:d|x|y|transform)="[^"]*"', _rounded, body)
    body = re.sub(r">\s+<", "><", body.replace("xlink:href", "href"))
    body = _DOTS.sub(_under_one_clip, body)
    return Markup(f'<svg{box[0]} role="img" aria-label="{escape(label)}">{body}</svg>')


def _under_one_clip(run: re.Match[str]) -> str:
    """Put neighbouring dots into one group with their clip path, instead of one a dot."""
    marks = _DOT.sub(r'<a data-t="\1">\2</a>', run[0])
    return f'<g clip-path="{run["clip"]}">{marks}</g>'


def _rounded(attribute: re.Match[str]) -> str:
    def short(number: re.Match[str]) -> str:
        return f"{float(number[0]):.1f}".rstrip("0").rstrip(".")

    return re.sub(r"\s+", " ", re.sub(r"-?\d+\.\d+", short, attribute[0]))
