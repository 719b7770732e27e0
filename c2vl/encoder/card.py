"""The card for people: what an encoder is, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNKNOWN_LICENCE = "not recorded; ask whoever gave the data"


def describe(card: Mapping[str, Any]) -> str:
    """Return the card as Markdown for people."""
    origin = card.get("provenance", {})
    layout, size = card["layout"], card["architecture"]["feature"]
    lines = [
        "# A skeleton encoder trained by C²VL",
        "",
        f"- joints: {len(layout['joints'])} ({layout['name']} layout), metres, y up",
        f"- features: {size} a sequence",
        f"- stream: {card['stream']}; preprocessing: {card['preprocessing']}",
        f"- architecture: ST-GCN {card['architecture']}",
        f"- weights: SHA-256 `{card['weights_sha256']}`",
        f"- licence of the data: {card.get('licence', UNKNOWN_LICENCE)}",
        *(f"- {name}: {value}" for name, value in origin.items() if not isinstance(value, dict)),
    ]
    for modality, about in card.get("concepts", {}).items():
        lines.append(f"- {modality} concepts: {about['encoder']} (zero-shot reads them)")
    lines += [
        "",
        "```python",
        "import c2vl",
        'encoder = c2vl.load_encoder("this/folder")',
        f"features = encoder.embed([joints])  # (T, V, 3) or (M, T, V, 3) → (1, {size})",
        "```",
        "",
        f"Joints in order: {', '.join(layout['joints'])}.",
    ]
    if figures := card.get("figures", {}):
        lines += ["", "Measured on held-out training subjects, never on the test part:", ""]
        lines += [f"- {name}: {value:.4f}" for name, value in figures.items()]
    if results := card.get("results", []):
        lines += ["", "Measured with the protocols of `c2vl evaluate`:", ""]
        lines += ["| data | protocol | figure | 95 % interval |", "|---|---|---|---|"]
        lines += [_result(row) for row in results]
    return "\n".join(lines) + "\n"


def _result(row: Mapping[str, Any]) -> str:
    data = f"{row['dataset']}, {row['split']}, {row['part']}"
    what = f"{row['protocol']}: {row['metric']}" + (f" ({row['setting']})" if row["setting"] else "")
    figure = f"{100 * row['value']:.1f} %"
    return f"| {data} | {what} | {figure} | {100 * row['low']:.1f} to {100 * row['high']:.1f} |"
