"""The card: what an encoder is, as JSON for programs and as Markdown for people. No torch.

What reads a file raises :class:`.UserError`, with its path, where it is missing or altered, or
is of another kind or version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2vl.config.held_out import held_out
from c2vl.support.errors import UserError
from c2vl.support.files import START, parse_json, stand_in
from c2vl.support.tables import markdown, scale_of

FORMAT = "c2vl-encoder"
VERSION = 2
"""1: weights and card. 2: the essentials of the card stand in the weights' file too, so that
neither can be changed alone; maps into the concept space; licence of the data."""
READS = (1, 2)
WEIGHTS, CARD = "encoder.safetensors", "encoder.json"
_MADE_BY = (
    f"an encoder is a folder with {CARD} and {WEIGHTS}, made by `c2vl train` or `c2vl export`"
)
UNKNOWN_LICENCE = "not recorded; ask the provider of the data"


def read_card(path: Path) -> dict[str, Any]:
    """Read an encoder's card, of a version that this code knows."""
    card = read_json(path)
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise UserError(f"{path}: not the card of an encoder (format {FORMAT})")
    if card.get("version") not in READS:
        raise UserError(
            f"{path}: version {card.get('version')} is unknown here (this code reads "
            f"{READS[0]} to {READS[-1]}); install the release that wrote it"
        )
    return card


def read_versioned(path: Path, known: tuple[str, int], made_by: str) -> dict[str, Any]:
    """Read the card of an artefact that belongs to an encoder.

    Args:
        known: the format and the version that this code reads.
        made_by: what the error says when it is not there.
    """
    card = read_json(path, made_by)
    if not isinstance(card, dict) or (card.get("format"), card.get("version")) != known:
        raise UserError(f"{path}: not of format {known[0]}, version {known[1]}")
    return card


def read_json(path: Path, made_by: str = _MADE_BY) -> Any:
    """Read a JSON file of an artefact."""
    try:
        return parse_json(read_file(path, made_by).decode("utf-8"))
    except UserError:
        raise
    except ValueError as error:
        raise UserError(
            f"{path}: altered or cut short ({error}); put it back, or make it again ({made_by})"
        ) from None


def read_file(path: Path, made_by: str = _MADE_BY) -> bytes:
    """Read a file of an artefact."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file; {made_by}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def read_sealed(path: Path, digest: object) -> bytes:
    """Read a file of an artefact whose SHA-256 stands in the card."""
    data = read_file(path)
    if hashlib.sha256(data).hexdigest() != digest:
        told = stand_in(data[:START]) or "altered or cut short (its digest is not the card's)"
        raise UserError(f"{path}: {told}")
    return data


def describe(card: Mapping[str, Any]) -> str:
    """Return the card as Markdown for people."""
    origin = card.get("provenance", {})
    layout, size = card["layout"], card["feature_size"]
    lines = [
        "# A skeleton encoder trained by C²VL",
        "",
        f"- joints: {len(layout['joints'])} ({layout['name']} layout), metres, y up",
        f"- features: {size} a sequence",
        f"- stream: {card['stream']}; preprocessing: {card['preprocessing']}",
        f"- architecture: {_architecture(card)}",
        f"- weights: SHA-256 `{card['weights_sha256']}`",
        f"- licence of the data: {card.get('licence', UNKNOWN_LICENCE)}",
        *(f"- {name}: {value}" for name, value in origin.items() if not isinstance(value, dict)),
    ]
    for modality, about in card.get("concepts", {}).items():
        lines.append(
            f"- {modality} concepts: {about['encoder']} (for zero-shot and search by text)"
        )
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
        data = origin.get("experiment", {}).get("data", {})
        seen = data.get("pretrain_on_validation", True), bool(origin.get("labels used"))
        lines += ["", "Figures of training, by their names there.", held_out(*seen), ""]
        lines += [f"- {name}: {value:.4f}" for name, value in figures.items()]
    if results := card.get("results", []):
        lines += ["", "Measured with the protocols of `c2vl evaluate`:", ""]
        lines.append(markdown([_result(row) for row in results]))
    return "\n".join(lines) + "\n"


def _architecture(card: Mapping[str, Any]) -> str:
    settings = dict(card["architecture"])
    name, origin = settings.pop("name", "ST-GCN"), card.get("backbone", {})
    package = origin.get("package", origin.get("module"))
    by = f" of {package} {origin.get('version', '')}".rstrip() if package else ""
    return f"{name}{by} {settings}"


def _result(row: Mapping[str, Any]) -> dict[str, str]:
    setting = f" ({row['setting']})" if row["setting"] else ""
    scale = scale_of(row["metric"])
    unit = " %" if scale > 1 else ""
    chance = row.get("chance")  # rows of earlier versions have none
    return {
        "data": f"{row['dataset']}, {row['split']}, {row['part']} part",
        "protocol": f"{row['protocol']}: {row['metric']}{setting}",
        "figure": f"{scale * row['value']:.1f}{unit}",
        "95 % interval": f"{scale * row['low']:.1f} to {scale * row['high']:.1f}",
        "chance": "" if chance is None else f"{scale * chance:.1f}{unit}",
    }
