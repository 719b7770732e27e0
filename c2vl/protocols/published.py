"""Figures that papers report, to stand beside ours: linear evaluation, top-1 in %.

One tuple a method: NTU 60 cross-subject and cross-view, NTU 120 cross-subject and cross-set-up,
PKU-MMD II. None where the paper has no such figure.
"""

from __future__ import annotations

from dataclasses import dataclass

SPLITS = ("xsub60", "xview60", "xsub120", "xset120", "pku2_xsub")
Figures = tuple[float | None, ...]


@dataclass(frozen=True)
class Published:
    """A method's linear evaluation, and where it is from.

    Attributes:
        method: its name.
        source: authors, venue and year.
        joint: joint stream, by ``SPLITS``.
        three_streams: ensemble of joint, bone and motion, by the first four; empty if unknown.
    """

    method: str
    source: str
    joint: Figures
    three_streams: Figures = ()


PUBLISHED = (
    Published("SkeletonCLR", "Li et al., CVPR 2021", (68.3, 76.4, 56.8, 55.9, None)),
    Published(
        *("AimCLR", "Guo et al., AAAI 2022", (74.3, 79.7, 63.4, 63.4, 38.5)),
        (78.9, 83.8, 68.2, 68.8),
    ),
    Published("HiCLR", "Zhang et al., AAAI 2023", (77.3, None, None, None, None)),
    Published("PSTL", "Zhou et al., AAAI 2023", (77.3, 81.8, 66.2, 67.7, 49.3)),
    Published(
        *("CMD", "Mao et al., ECCV 2022", (79.8, 86.9, 70.3, 71.5, 43.0)),
        (84.1, 90.9, 74.7, 76.1),
    ),
    Published("HaLP", "Shah et al., CVPR 2023", (79.7, 86.8, 71.1, 72.2, 43.5)),
    Published("SkeAttnCLR", "Hua et al., IJCAI 2023", (80.3, 86.1, 66.3, 74.5, 52.9)),
    Published(
        *("ActCLR", "Lin et al., CVPR 2023", (80.9, 86.7, 69.0, 70.5, None)),
        (84.3, 88.8, 74.3, 75.7),
    ),
    Published("PCM3", "Zhang et al., ACM MM 2023", (83.9, 90.4, 76.5, 77.5, 51.5)),
    Published("MAMP", "Mao et al., ICCV 2023", (84.9, 89.1, 78.6, 79.1, 53.8)),
    Published("SCD-Net", "Wu et al., AAAI 2024", (86.6, 91.7, 76.9, 80.1, 54.0)),
    Published("STARS", "Mehraban et al., arXiv 2407.10935", (87.1, 90.9, 79.9, 80.8, 52.7)),
    Published(
        "C²VL (the paper)",
        "Chen et al., arXiv 2405.20606, IEEE TMM 2025",
        (84.4, 89.8, 76.0, 78.7, 52.6),
    ),
)


def beside(split: str, key: str) -> list[tuple[str, str, float]]:
    """Published figures of a split: method, source, top-1 in %.

    Args:
        split: a full name of ours.
        key: "linear" (joint stream) or "ensemble" (three streams); nothing for the others.
    """
    if split not in SPLITS or key not in ("linear", "ensemble"):
        return []
    place = SPLITS.index(split)
    found = []
    for one in PUBLISHED:
        figures = one.joint if key == "linear" else one.three_streams
        figure = figures[place] if place < len(figures) else None
        if figure is not None:
            found.append((one.method, one.source, figure))
    return found
