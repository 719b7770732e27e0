"""Pictures of an encoder on a part of a split: confusion, accuracy by class, a map of features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2vl.probes.neighbours import unit as to_unit
from c2vl.protocols.results import Result
from c2vl.protocols.task import Ints, Task
from c2vl.support.files import replacing

MAPPED = 3000  # sequences in the map: t-SNE's cost grows faster than they do


def predictions(task: Task) -> tuple[Ints, Ints]:
    """Return the scored positions (n,) and the convex probe's predictions (n,)."""
    at, guess = [], []
    for one in task.folds:
        probe, _ = task.probe(one)
        at.append(one.scored)
        guess.append(probe.scores(task.rows[one.scored]).argmax(1))
    return np.concatenate(at), np.concatenate(guess).astype(np.int64)


def draw(task: Task, folder: Path) -> list[Path]:
    """Write ``confusion.png``, ``classes.png`` and ``map.png`` into a folder.

    Args:
        task: what is evaluated; its part decides whose sequences are shown.
        folder: created if absent.
    """
    at, guess = predictions(task)
    truth = task.labels[at]
    title = f"{task.store.manifest['dataset']}, {task.split.name}, {task.part} part"
    names = list(task.store.class_names)
    return [
        _save(_confusion(truth, guess, names, title), folder / "confusion.png"),
        _save(_classes(truth, guess, names, title), folder / "classes.png"),
        _save(_map(task.rows[at], truth, names, title, task.seed), folder / "map.png"),
    ]


def draw_curves(rows: list[Result], path: Path) -> Path:
    """Draw the robustness curves of results: a panel each, a line for each encoder."""
    panels: dict[str, dict[str, dict[float, list[float]]]] = {}
    units: dict[str, str] = {}
    for row in rows:
        name, at, level = row.key.partition("@")
        if at:
            line = panels.setdefault(name, {}).setdefault(row.who, {})
            line.setdefault(float(level), []).append(100 * row.value)
            units[name] = row.setting.partition(", ")[2].partition(" ")[2]
    figure, axes = _figure(max(1, len(panels)), 3.2)
    for axis, (name, lines) in zip(axes, panels.items(), strict=True):
        for who, levels in lines.items():
            places = sorted(levels)
            axis.plot(places, [np.mean(levels[at]) for at in places], marker="o", label=who)
        axis.set_title(name.replace("_", " "))
        axis.set_xlabel(units[name])
        axis.set_ylim(0, 100)
    axes[0].set_ylabel("linear, top-1 %")
    axes[0].legend(fontsize=7)
    return _save(figure, path)


def _figure(columns: int = 1, size: float = 8.0) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size * columns, size), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, axes


def _save(figure: Any, path: Path) -> Path:
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=120, metadata={"Software": None})
    return path


def _confusion(truth: Ints, guess: Ints, names: list[str], title: str) -> Any:
    table = np.zeros((len(names), len(names)))
    np.add.at(table, (truth, guess), 1)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    figure, (axis,) = _figure(size=max(6.0, 0.28 * len(names)))
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axis.set_title(f"{title}: share of each class, row by row")
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    _class_ticks(axis, names)
    figure.colorbar(image, shrink=0.6)
    return figure


def _class_ticks(axis: Any, names: list[str]) -> None:
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=7)


def _classes(truth: Ints, guess: Ints, names: list[str], title: str) -> Any:
    there = np.unique(truth)
    share = np.array([100 * (guess[truth == label] == label).mean() for label in there])
    order = np.argsort(share, kind="stable")
    figure, (axis,) = _figure(size=max(5.0, 0.24 * len(there)))
    axis.barh(range(len(there)), share[order], color="#4878a8")
    axis.set_yticks(range(len(there)), [names[there[at]] for at in order], fontsize=7)
    axis.set_xlim(0, 100)
    axis.set_xlabel("linear, top-1 %")
    axis.set_title(f"{title}, by class")
    return figure


def _map(rows: NDArray[np.float32], truth: Ints, names: list[str], title: str, seed: int) -> Any:
    """t-SNE of unit features (van der Maaten and Hinton, 2008), classes by colour and number."""
    from sklearn.manifold import TSNE

    step = max(1, -(-len(rows) // MAPPED))
    rows, truth = rows[::step], truth[::step]
    unit = to_unit(rows)
    perplexity = min(30.0, max(2.0, (len(unit) - 1) / 3))
    places = TSNE(init="pca", random_state=seed, perplexity=perplexity).fit_transform(unit)
    figure, (axis,) = _figure(size=8.0)
    axis.scatter(*places.T, c=truth % 20, cmap="tab20", s=14)
    for label in np.unique(truth):
        middle = np.median(places[truth == label], axis=0)
        axis.annotate(names[label], middle, fontsize=7, ha="center")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(f"{title}: features, t-SNE")
    return figure
