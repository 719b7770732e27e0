"""The frames that each caption of a sequence describes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from c2vl.drawing.recording import Caption
from c2vl.prompts.rules.captions import RULES, caption_windows
from c2vl.prompts.table import ConceptTable
from c2vl.skeletons.store import Store
from c2vl.support.errors import UserError


def timeline(table: ConceptTable, store: Store, position: int) -> tuple[Caption, ...]:
    """Return the captions of a sequence with the frames that they describe.

    Kinematic captions describe windows of the moving part, computed again from the joints. Others
    (of a model that saw frames in order of time) divide the sequence evenly; so do the sentences of
    the richer rules, which are on the whole motion and shown in turn.

    Raises:
        UserError: the table has no captions, or none of this sequence.
    """
    name = str(store.index["id"].iloc[position])
    texts = [str(text) for text in table.texts(name).sort_values("prompt")["text"]]
    if not any(texts):
        raise UserError(f"{table.path}: its {table.modality} prompts are no texts; nothing to show")
    joints, manifest = store.joints(position), table.manifest
    settings = manifest.get("settings", {})
    if manifest.get("store") == store.digest and settings.get("rules") == RULES:
        fps = float(store.manifest.get("settings", {}).get("fps") or 30)
        windows = caption_windows(joints, store.layout, windows=len(texts), fps=fps)
        spans = [(window.start, window.stop) for window in windows]
    else:
        edges = np.linspace(0, joints.shape[1], len(texts) + 1)
        spans = [
            (int(first), max(int(first) + 1, int(np.ceil(last)))) for first, last in pairwise(edges)
        ]
    return tuple(
        Caption(start, min(stop, joints.shape[1]), text)
        for (start, stop), text in zip(spans, texts, strict=True)
        if text
    )
