"""A store in words and bars, for a terminal."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table

from c2vl.skeletons.store import Store

_BINS = 10
_BAR = 40


def show(store: Store, console: Console | None = None) -> None:
    """Print counts, classes, subjects and the distribution of lengths."""
    console = console or Console()
    index, counts, source = store.index, store.manifest["counts"], store.manifest["source"]
    head = Table(title=f"{store.manifest['dataset']}  ({store.path})", show_header=False)
    head.add_row("source", str(source.get("path", source.get("generator"))))
    head.add_row("sequences", f"{counts['sequences']} ({counts['rejected']} files rejected)")
    head.add_row("bodies", f"{counts['one_body']} with one, {counts['two_bodies']} with two")
    lengths = index["frames"]
    head.add_row(
        "frames", f"{lengths.min()} to {lengths.max()}, median {lengths.median():g} a sequence"
    )
    head.add_row("joints", f"{len(store.layout.joints)} ({store.layout.name})")
    for column in ("subject", "camera", "setup", "replication"):
        values = [int(value) for value in np.unique(index[column])]
        listed = ", ".join(map(str, values[:20])) + (" …" if len(values) > 20 else "")
        head.add_row(column + "s", "not known" if values == [-1] else f"{len(values)}: {listed}")
    head.add_row("default split", str(store.manifest["default_split"]))
    head.add_row("checksum", store.digest[:16])
    console.print(head)

    classes = Table("label", "class", "sequences", "two bodies", "median frames")
    for label, group in index.groupby("label"):
        number = int(str(label))
        two = int((group["bodies"] == 2).sum())
        classes.add_row(
            *(str(number), store.class_names[number], str(len(group)), str(two)),
            f"{group['frames'].median():g}",
        )
    console.print(classes)

    histogram, edges = np.histogram(lengths, bins=_BINS)
    bars = Table("frames", "sequences", "", title="lengths")
    for count, low, high in zip(histogram, edges[:-1], edges[1:], strict=True):
        bar = "█" * round(_BAR * count / max(histogram.max(), 1))
        bars.add_row(f"{low:.0f} to {high:.0f}", str(count), bar)
    console.print(bars)
