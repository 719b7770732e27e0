"""The files that ``c2vl data init`` writes: layout, table of sequences, experiment and sweep.

All of them are written or none; a file that is there already is never touched.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from c2vl.skeletons.layout_files import layout_yaml
from c2vl.skeletons.starting.layout_guess import DOUBTFUL
from c2vl.skeletons.starting.survey import Survey
from c2vl.support.errors import UserError
from c2vl.support.files import write_text

_DEFAULT_AXES = (("frames", "joints", "xyz"), ("bodies", "frames", "joints", "xyz"))
_GROUPS = ("subject", "setup", "camera")
_FOLDS = 4


@dataclass(frozen=True)
class Division:
    """How recordings are divided.

    Attributes:
        split: ``data.split``.
        by: the column that validation groups by.
        folds: of validation.
        why: in words.
        values: columns that are made up for it.
    """

    split: str
    by: str
    folds: int
    why: str
    values: dict[str, list[str]]


def divide(found: Survey) -> Division:
    """Choose train and test parts, and what validation groups by, from what the names say."""
    values = found.columns.values
    for by in _GROUPS:
        groups = sorted({int(word) for word in values.get(by, ())})
        if len(train := groups[::2]) >= 2:
            split = f"{by}:{','.join(map(str, train))}"
            others = ", ".join(map(str, groups[1::2]))
            why = f"trained on {by} {', '.join(map(str, train))}, tested on {others}"
            return Division(split, by, min(_FOLDS, len(train)), why, {})
    # Takes of each class are dealt out: two train, one tests; the first in four groups.
    counts: dict[str, int] = {}
    parts, groups_ = [], []
    for label in values.get("label", [""] * len(found.recordings)):
        place = counts[label] = counts.get(label, -1) + 1
        parts.append("test" if place % 3 == 2 else "train")
        groups_.append(str(place % _FOLDS))
    said = "the names do not say who was recorded"
    if people := set(values.get("subject", ())):
        said = f"subjects: {len(people)}, too few to train on some and test on others"
    why = (
        f"{said}: takes are dealt out, and the same people may be in "
        "both parts, so that figures are too high for new people"
    )
    return Division("dealt", "setup", _FOLDS, why, {"setup": groups_, "split_dealt": parts})


def texts(found: Survey, folder: Path, name: str) -> dict[str, str]:
    """Return the content of each file, by its name.

    Args:
        folder: where they will lie, as commands name it.
        name: of the store, the experiment and the sweep.
    """
    division = divide(found)
    written = {"sequences.csv": _table(found, division)}
    if found.reader == "folder":
        written["layout.yaml"] = _layout(found, folder)
    written["experiment.yaml"] = _experiment(found, division, folder, name)
    written["sweep.yaml"] = _sweep(folder, name)
    return written


def write(folder: Path, contents: dict[str, str]) -> None:
    """Write the files, all or none.

    Raises:
        UserError: one of them is there already, or cannot be written.
    """
    if there := [name for name in contents if (folder / name).exists()]:
        raise UserError(
            f"{folder}: {', '.join(there)} is there already, and data init overwrites nothing; "
            "move or delete it, or go on with it: c2vl data prepare"
        )
    done: list[Path] = []
    try:
        for name, text in contents.items():
            write_text(folder / name, text)
            done.append(folder / name)
    except BaseException:
        for path in done:
            path.unlink(missing_ok=True)
        raise


def store_of(name: str) -> str:
    """Return where the store goes."""
    return f"runs/stores/{name}"


def name_of(folder: Path) -> str:
    """Return a name for the store and the sweep: the folder's, in letters that both take."""
    word = re.sub(r"[^A-Za-z0-9_-]+", "_", folder.resolve().name).strip("_-")
    return word or "mine"


def prepare_command(found: Survey, folder: Path, name: str) -> str:
    """Return the command that makes the store."""
    guess = found.guess
    unit = guess.unit or "m"
    options = f" --up {guess.up}" if guess.up != "y" else ""
    if unit != ("cm" if found.reader == "bvh" else "m"):
        options += f" --unit {unit}"
    if found.unusable:
        options += f" --max-rejected {len(found.unusable)}"
    return f"c2vl data prepare {found.reader} {folder} {store_of(name)}{options}"


def _table(found: Survey, division: Division) -> str:
    stems = [file.name.removesuffix(Path(file.base).suffix) for file in found.recordings]
    columns = {"id": stems, "label": [""] * len(stems)}
    columns |= found.columns.values | division.values
    columns["file"] = [file.name for file in found.recordings]
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _layout(found: Survey, folder: Path) -> str:
    layout, misfits = found.guess.layout, found.guess.misfits
    if not misfits:
        told = """\
# No layout that we know has so many joints, so their names are missing and the bones are a guess:
# joints that keep their distance. Name them (docs/datasets.md, "Names of joints"): captions from
# motion find joints by name. Then set parents, pairs (left, right), centre and shoulders."""
    else:
        fit = ", ".join(f"{name} {value:.2f}" for name, value in misfits.items())
        doubt = ": DOUBTFUL" if next(iter(misfits.values())) > DOUBTFUL else ""
        told = f"""\
# Guessed{doubt} by how rigid and symmetric bones are (misfit, 0 is perfect: {fit}).
# A wrong order of joints shows at once in a picture of a recording (c2vl data view)."""
    said = ""
    if found.axes and found.axes not in _DEFAULT_AXES:
        said += f"  axes: [{', '.join(found.axes)}]\n"
    if found.variable:
        said += f"  variable: {found.variable}\n"
    if said:
        how = found.shown.partition(";")[0]
        said = f"# How the files hold the joints: {how}.\nrecordings:\n{said}"
    return f"""\
# What the joints of the recordings in this folder are, in the order of the data.
{told}
# Draw it: c2vl data layouts {folder}/layout.yaml --out layout.png
{layout_yaml(layout)}{said}"""


def _experiment(found: Survey, division: Division, folder: Path, name: str) -> str:
    store = store_of(name)
    count = len(found.recordings)
    return f"""\
# c2vl train {folder}/experiment.yaml
# Settings that are not here have the defaults that `c2vl settings` lists.
name: {name}
data:
  store: {store}
  # {division.why}.
  # Others: c2vl data splits {store}
  split: "{division.split}"
  # Settings are chosen on folds of the training part that keep each {division.by} whole.
  validation_by: {division.by}
  validation_folds: {division.folds}
  # A sequence is resampled to this many frames; recordings here have {found.frames} (median).
  frames: {32 if found.frames <= 150 else 64}
prompts: {{language: {store}/language, normalise: whiten}}
model: {{feature: 128}}  # what an encoder returns for a sequence: 128 numbers
objective:
  temperature: 0.2  # of the softmax over the batch: lower looks at the nearest captions alone
  temperature_intra: 0.2  # of the captions' own similarities, which soften the targets
  schedule: {{shape: cosine, end: 1.0}}  # from hard targets to fully softened ones
optim: {{name: adamw, lr: 0.003, weight_decay: 0.01}}
# With a GPU add gpus_per_worker: 1
train: {{epochs: 60, batch_size: {max(8, min(64, count // 8))}, evaluate_every: 20}}
"""


def _sweep(folder: Path, name: str) -> str:
    return f"""\
# c2vl-sweep validate {folder}/sweep.yaml --calibrate   (its time here, beforehand)
# c2vl-sweep run {folder}/sweep.yaml
# Which temperatures and softening suit these recordings. The experiment as it is comes first.
name: {name}
base: experiment.yaml
trials: 10
objectives: [{{metric: linear_val, direction: maximize}}]  # never looks at the test part
sampler: {{name: tpe, startup_trials: 5}}
pruner: {{name: asha, min_epochs: 20, reduction: 3}}  # poor trials end at epoch 20
points:
  - objective.temperature: 0.2
    objective.temperature_intra: 0.2
    objective.schedule.shape: cosine
    objective.schedule.end: 1.0
    optim.lr: 0.003
space:
  objective.temperature: {{type: float, low: 0.03, high: 0.5, log: true}}
  objective.temperature_intra: {{type: float, low: 0.1, high: 0.5, log: true}}
  objective.schedule.shape: {{type: categorical, choices: [constant, linear, cosine]}}
  objective.schedule.end: {{type: float, low: 0.0, high: 1.0}}
  optim.lr: {{type: float, low: 0.001, high: 0.01, log: true}}
final:
  candidates: 2  # the best two are trained again with every seed, and their mean decides
  seeds: [0, 1, 2]
  beside: [base, hard]  # what the winner is read against: the experiment, and hard targets
"""
