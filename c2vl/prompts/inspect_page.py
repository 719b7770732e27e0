"""One HTML file on prompts: a few sequences in motion, words, pictures and features; no network.

Shapes: N sequences, P prompts, D feature size, M bodies, T frames, V joints.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader
from numpy.typing import NDArray

from c2vl.drawing.figure import bones, project, side_colours
from c2vl.prompts.probe import ProbeResult, probe_names, probe_table, read_names
from c2vl.prompts.table import CHUNK, ConceptTable
from c2vl.prompts.video.shards import PromptFolder
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError
from c2vl.support.files import write_text

NEIGHBOURS = 5
REPEATED = 15
_FRAMES = 40  # of an animation
_THUMB = 96  # pixels
_SPACE_FRAMES = 16  # of a clip in skeleton space

Rows = NDArray[np.float32]


def write(
    out: Path,
    *,
    language: ConceptTable | None = None,
    vision: ConceptTable | None = None,
    store: Store | None = None,
    run: Path | None = None,
    split: str = "xsub",
    samples: int = 24,
) -> int:
    """Write the page.

    Args:
        out: the HTML file.
        language: captions and their features.
        vision: features of crops.
        store: skeletons, labels and subjects.
        run: the folder of ``c2vl prompts video``, for the pictures.
        split: named split for the probe.
        samples: sequences that are shown, spread over the classes.

    Returns:
        How many sequences are shown.

    Raises:
        UserError: no table is given, nothing is in all of what is given, or a part is damaged.
    """
    tables = {name: t for name, t in (("language", language), ("vision", vision)) if t is not None}
    if not tables:
        raise UserError("inspect: name a table with --language or --vision")
    first = next(iter(tables.values()))
    names = _common(tables, store)
    labels = _labels(names, store)
    shown = _spread(names, labels, samples)
    spaces = {name: _near(table.join, names, shown) for name, table in tables.items()}
    if store is not None:
        spaces["skeleton"] = _near(_skeletons(store), names, shown)
    texts = language.texts() if language is not None else None
    middle = _middle_captions(texts, {n for s in spaces.values() for row in s for n in row})
    pictures = _pictures(tables, run, shown)
    captions: dict[str, list[str]] = {}
    if texts is not None:
        captions = {
            str(name): list(rows)
            for name, rows in texts[texts["id"].isin(shown)].groupby("id", sort=False)["text"]
        }
    cards = [
        {
            "id": name,
            "class": labels.get(name, ""),
            "captions": captions.get(name, []),
            "pictures": pictures.get(name, []),
            "near": {
                space: [
                    {"id": n, "class": labels.get(n, ""), "caption": middle.get(n, "")}
                    for n in rows[i]
                ]
                for space, rows in spaces.items()
            },
        }
        for i, name in enumerate(shown)
    ]
    longest, lengths = _lengths(texts)
    pages = Environment(
        loader=PackageLoader("c2vl.prompts", "."), autoescape=True, trim_blocks=True
    )  # autoescape: captions are somebody else's text
    page = pages.get_template("inspect.html").render(
        title=f"Prompts of {store.path.name if store is not None else first.path.name}",
        tables=[_about(table) for table in tables.values()],
        probes={name: _probe(table, store, split) for name, table in tables.items()},
        longest=longest,
        lengths=lengths,
        repeated=_repeated(texts),
        cards=cards,
        motions=[_motion(store, name) for name in shown] if store is not None else [],
        bones=_bones(store),
        percent=lambda share: f"{100 * share:.1f} %",
    )
    write_text(out, page)
    return len(cards)


def _common(tables: dict[str, ConceptTable], store: Store | None) -> list[str]:
    """Return the sequences that all tables and the store have."""
    first, *others = tables.values()
    sets = [set(table.ids) for table in others]
    if store is not None:
        sets.append({str(name) for name in store.index["id"]})
    names = [name for name in first.ids if all(name in known for known in sets)]
    if not names:
        raise UserError(f"{first.path}: no sequence of it is in the other tables and the store")
    return names


def _labels(names: list[str], store: Store | None) -> dict[str, str]:
    """Return the class of each sequence, where it is known."""
    if store is not None:
        numbers = zip(store.index["id"].astype(str), store.index["label"], strict=True)
        return {name: store.class_names[label] for name, label in numbers if label >= 0}
    try:
        found, _ = read_names(names)
    except UserError:
        return {}
    return {name: f"class {label}" for name, label in zip(names, found, strict=True)}


def _spread(names: list[str], labels: dict[str, str], number: int) -> list[str]:
    """Choose sequences, one of each class in turn, evenly within a class."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(labels.get(name, ""), []).append(name)
    each = -(-number // len(groups))
    chosen = []
    for place in range(each):
        for group in groups.values():
            if place < min(each, len(group)):
                chosen.append(group[(2 * place + 1) * len(group) // (2 * min(each, len(group)))])
    return list(dict.fromkeys(chosen))[:number]


def _near(
    rows: Callable[[list[str]], NDArray[np.float32]], names: list[str], shown: list[str]
) -> list[list[str]]:
    """Return the nearest sequences by the cosine of mean features about their common mean."""

    def means(part: list[str]) -> Rows:
        found = rows(part)
        return found.mean(axis=1) if found.ndim == 3 else found

    parts = [names[i : i + CHUNK] for i in range(0, len(names), CHUNK)]
    centre = np.sum([means(part).sum(axis=0, dtype=np.float64) for part in parts], axis=0)
    centre = (centre / len(names)).astype(np.float32)
    asked = _unit(means(shown) - centre)
    near = np.concatenate([asked @ _unit(means(part) - centre).T for part in parts], axis=1)
    order = np.argsort(-near, axis=1)[:, : NEIGHBOURS + 1]
    return [
        [names[j] for j in row if names[j] != name][:NEIGHBOURS]
        for name, row in zip(shown, order, strict=True)
    ]


def _unit(rows: Rows) -> Rows:
    size: Rows = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return rows / size


def _skeletons(store: Store) -> Callable[[list[str]], Rows]:
    """Return skeleton space: names to rows (n, T * V * 3) of centred, aligned joints."""
    from c2vl.skeletons.clips import load_clips

    clips = load_clips(store, frames=_SPACE_FRAMES)
    place = {str(name): number for number, name in enumerate(store.index["id"])}

    def rows(names: list[str]) -> Rows:
        chosen = clips.dense(np.array([place[name] for name in names]))
        return chosen.reshape(len(names), -1)

    return rows


def _middle_captions(texts: pd.DataFrame | None, names: set[str]) -> dict[str, str]:
    if texts is None:
        return {}
    at = (int(texts["prompt"].max()) + 1) // 2
    middle = texts[(texts["prompt"] == at) & texts["id"].isin(names)]
    return {str(name): text for name, text in zip(middle["id"], middle["text"], strict=True)}


def _pictures(
    tables: dict[str, ConceptTable], run: Path | None, shown: list[str]
) -> dict[str, list[str]]:
    """Return small crops of the shown sequences, as data addresses."""
    from PIL import Image

    if run is None:
        return {}
    folder = PromptFolder(run)
    table = folder.cropped()
    table = table[table["id"].isin(shown)].sort_values(["id", "prompt"])
    found: dict[str, list[str]] = {}
    for name, data in zip(table["id"], folder.pictures(table), strict=True):
        image = Image.open(io.BytesIO(data)).convert("RGB")
        image.thumbnail((_THUMB, _THUMB))
        image.save(small := io.BytesIO(), format="JPEG", quality=80)
        address = "data:image/jpeg;base64," + base64.b64encode(small.getvalue()).decode()
        found.setdefault(name, []).append(address)
    return found


def _motion(store: Store, name: str) -> list[list[list[list[float]]]]:
    """Return joints on the screen, (M, T, V, 2), 0..1 with y down, seen from the sensor."""
    position = int(np.flatnonzero(store.index["id"].astype(str) == name)[0])
    joints = np.asarray(store.joints(position), dtype=np.float64)
    joints = joints[:, np.linspace(0, joints.shape[1] - 1, _FRAMES).round().astype(int)]
    seen = np.any(joints != 0, axis=(2, 3))
    flat = project(joints)[..., :2] * [1, -1]
    low, high = flat[seen].reshape(-1, 2).min(0), flat[seen].reshape(-1, 2).max(0)
    size = max(float((high - low).max()), 1e-6)
    flat = (flat - (low + high) / 2) / size * 0.9 + 0.5
    flat[~seen] = -9  # outside the picture
    rounded: list[list[list[list[float]]]] = np.round(flat, 3).tolist()
    return rounded


def _bones(store: Store | None) -> list[list[int | str]]:
    """Return joint, parent and colour of each bone."""
    if store is None:
        return []
    colours = side_colours(store.layout)
    return [[int(joint), int(parent), colours[joint]] for joint, parent in bones(store.layout)]


def _about(table: ConceptTable) -> dict[str, Any]:
    manifest = table.manifest
    keys = ("modality", "model", "source")
    counts = {k: v for k, v in manifest["counts"].items() if not isinstance(v, dict)}
    return {key: manifest[key] for key in keys} | counts


def _probe(table: ConceptTable, store: Store | None, split: str) -> dict[str, Any]:
    """Return the probe's figures, or why there are none."""
    try:
        found: ProbeResult = (
            probe_names(table) if store is None else probe_table(table, store, split)
        )
    except UserError as error:
        return {"why": str(error)}
    return {
        "mean": found.validation,
        "chance": 1 / found.classes,
        "subjects": {str(name): value for name, value in found.by_subject.items()},
        "unlabelled": found.unlabelled,
    }


def _lengths(texts: pd.DataFrame | None) -> tuple[int, dict[int, int]]:
    """The longest caption, words; and captions by length in at most 80 bins, from a bin's start."""
    if texts is None:
        return 0, {}
    counts = Counter(len(text.split()) for text in texts["text"])
    longest = max(counts)
    step = max(1, -(-longest // 80))
    bins = dict.fromkeys(range(0, longest + 1, step), 0)
    for words, captions in counts.items():
        bins[words // step * step] += captions
    return longest, bins


def _repeated(texts: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Return the captions that most sequences share."""
    if texts is None:
        return []
    sequences = texts["id"].nunique()
    shared = texts.drop_duplicates(["id", "text"])["text"].value_counts()
    return [
        {"caption": caption, "sequences": int(number), "share": number / sequences}
        for caption, number in shared.head(REPEATED).items()
        if number > 1
    ]
