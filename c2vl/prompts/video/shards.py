"""The folder of ``c2vl prompts video``: crops and answers by shard, each file written whole.

::

    settings.json            what the prompts depend on; a run with other settings is refused
    crops/SHARD.tar          pictures, one a prompt
    crops/SHARD.parquet      id, prompt, time, left, top, right, bottom, offset, length
    answers/SHARD-X.parquet  id, prompt, question, answer (as it came), status, text (as it is used)
    rejected.csv             what the last run could not do, with the reason
    rates.json               what the last run did, and in how many seconds

A sequence is done when its answers are there. The next run tries again whatever is not done: it
continues an interrupted one, and completes it once a video is repaired or an endpoint is back.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from c2vl.prompts.video import crops
from c2vl.prompts.video.answers import Captioner, captions_of
from c2vl.prompts.video.frames import Clip, sample
from c2vl.prompts.video.persons import Persons
from c2vl.skeletons.rejected import RejectedError
from c2vl.support.errors import UserError
from c2vl.support.files import replacing, require_writable, write_text


@dataclass(frozen=True)
class CropSettings:
    """How frames are cropped.

    Attributes:
        prompts: frames a sequence.
        size: of a crop, pixels.
        margin: share of the box's longer side that is added around it.
    """

    prompts: int = 16
    size: int = 336
    margin: float = 0.1
    format: crops.Format = "jpeg"


@dataclass(frozen=True)
class Shard:
    """Sequences whose prompts are made together.

    Attributes:
        clips: those to crop; empty where the crops are there.
    """

    name: str
    clips: tuple[Clip, ...] = ()


@dataclass
class Tally:
    """What came of a shard, or of many.

    Attributes:
        cropped, answered: sequences.
        pictures, captions: prompts.
        crop_seconds, answer_seconds: of work, over all workers.
        statuses: answers by status (``ok``, ``cut``, ``empty``, ``refusal``).
        rejected: sequences without prompts, with the reason.
    """

    cropped: int = 0
    answered: int = 0
    pictures: int = 0
    captions: int = 0
    crop_seconds: float = 0.0
    answer_seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    rejected: list[tuple[str, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        for name in (each.name for each in fields(self)):
            setattr(self, name, getattr(self, name) + getattr(other, name))


class PromptFolder:
    """The folder of ``c2vl prompts video``.

    Args:
        path: where it is, on storage that all workers reach.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.crops, self.answers = path / "crops", path / "answers"

    def claim(self, settings: dict[str, Any]) -> None:
        """Make the folder, or check that the one there has the same settings.

        Raises:
            UserError: it was made with other settings, is something else, or cannot be written.
        """
        file = self.path / "settings.json"
        if file.is_file():
            found = self.settings
            for key, value in settings.items():
                if found.get(key) != value:
                    raise UserError(
                        f"{self.path}: was begun with {key} {found.get(key)!r}, and {value!r} is "
                        "asked for now; give another OUT"
                    )
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise UserError(f"{self.path}: exists and is not a folder of prompts; give another OUT")
        require_writable(self.path)
        for folder in (self.crops, self.answers):
            folder.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(settings, indent=1) + "\n")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What the prompts were made with.

        Raises:
            UserError: the folder is not there, or not one of prompts.
        """
        try:
            found: dict[str, Any] = json.loads((self.path / "settings.json").read_text())
        except (OSError, ValueError):
            raise UserError(
                f"{self.path}: no prompts here; make some with `c2vl prompts video`"
            ) from None
        return found

    def cropped(self) -> pd.DataFrame:
        """All crops: shard, id, prompt, time, box, offset, length, crop (file:offset:length)."""
        table = _all(self.crops)
        parts = zip(table["shard"], table["offset"], table["length"], strict=True)
        return table.assign(crop=[f"crops/{s}.tar:{start}:{size}" for s, start, size in parts])

    def answered(self) -> pd.DataFrame:
        """All answers: shard (of the crops), id, prompt, question, answer, status, text."""
        table = _all(self.answers)
        return table.assign(shard=table["shard"].str.rsplit("-", n=1).str[0])

    def unfinished(self, clips: Sequence[Clip], size: int, *, asking: bool) -> list[Shard]:
        """List the shards of clips without answers (without crops where nothing is asked)."""
        cropped = self.cropped()
        shard_of = dict(zip(cropped["id"], cropped["shard"], strict=True))
        answered = set(self.answered()["id"]) if asking else set(shard_of)
        waiting = [c for c in clips if c.id in shard_of and c.id not in answered]
        found = [Shard(name) for name in dict.fromkeys(shard_of[c.id] for c in waiting)]
        new = [clip for clip in clips if clip.id not in shard_of]
        for start in range(0, len(new), size):
            part = tuple(new[start : start + size])
            found.append(Shard(_name([clip.id for clip in part]), part))
        return found

    def pictures(self, rows: pd.DataFrame) -> list[bytes]:
        """Return the crops of rows of :meth:`cropped`."""
        places = zip(rows["shard"], rows["offset"], rows["length"], strict=True)
        return [crops.read_crop(self.crops / f"{s}.tar", start, size) for s, start, size in places]


def crop_shard(
    folder: PromptFolder, settings: CropSettings, persons: Persons, shard: Shard
) -> Tally:
    """Sample a shard's frames, find the person, and write the crops, unless they are there."""
    target = folder.crops / f"{shard.name}.parquet"
    tally, began = Tally(), time.perf_counter()
    if not shard.clips or target.is_file():
        return tally
    pictures: dict[str, bytes] = {}
    rows: list[dict[str, Any]] = []
    for clip in shard.clips:
        try:
            frames = sample(clip, settings.prompts)
            boxes = crops.fill(persons.boxes(clip.id, frames))
        except RejectedError as error:
            tally.rejected.append((clip.id, str(error)))
            continue
        for i, (frame, box) in enumerate(zip(frames, boxes, strict=True)):
            square = crops.crop(frame.image, box, margin=settings.margin, size=settings.size)
            name = f"{clip.id}/{i:03d}.{settings.format}"
            pictures[name] = crops.encode(square, settings.format)
            sides = dict(zip(("left", "top", "right", "bottom"), box, strict=True))
            rows.append({"id": clip.id, "prompt": i, "time": frame.time, **sides, "name": name})
        tally.cropped += 1
    tally.pictures = len(rows)
    if rows:
        places = crops.write_shard(folder.crops / f"{shard.name}.tar", pictures)
        table = pd.DataFrame(rows)
        names = table.pop("name")
        table["offset"], table["length"] = names.map(places), [len(pictures[n]) for n in names]
        _write_table(target, table)
    tally.crop_seconds = time.perf_counter() - began
    return tally


def ask_shard(
    folder: PromptFolder, questions: Sequence[str], captioner: Captioner, shard: Shard
) -> Tally:
    """Ask about those crops of a shard that have no answers yet, and write the answers."""
    source = folder.crops / f"{shard.name}.parquet"
    tally, began = Tally(), time.perf_counter()
    if not source.is_file():  # nothing could be cropped
        return tally
    known: set[str] = set()
    for path in folder.answers.glob(f"{shard.name}-*.parquet"):
        known |= set(pd.read_parquet(path, columns=["id"])["id"])
    table = pd.read_parquet(source).assign(shard=shard.name)
    table = table[~table["id"].isin(known)].reset_index(drop=True)
    if table.empty:
        return tally
    pictures = folder.pictures(table)
    table = table[["id", "prompt"]].copy()
    table["question"] = [questions[i % len(questions)] for i in table["prompt"]]
    answers = captioner.answers(pictures, list(table["question"]))
    kept: list[pd.DataFrame] = []
    for name, rows in table.groupby("id", sort=False):
        mine = [answers[i] for i in rows.index]
        try:
            texts, statuses = captions_of(mine)
        except RejectedError as error:
            tally.rejected.append((str(name), str(error)))
            continue
        given = [answer.text for answer in mine]
        kept.append(rows.assign(answer=given, status=statuses, text=texts))
        tally.statuses.update(statuses)
    if kept:
        answered = pd.concat(kept, ignore_index=True)
        tally.answered, tally.captions = len(kept), len(answered)
        tail = _name(list(answered["id"].unique()))
        _write_table(folder.answers / f"{shard.name}-{tail}.parquet", answered)
    tally.answer_seconds = time.perf_counter() - began
    return tally


def _name(ids: list[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def _all(folder: Path) -> pd.DataFrame:
    """The rows of all tables in a folder; each row's shard is the stem of its file."""
    paths = [path for path in sorted(folder.glob("*.parquet")) if not path.name.startswith(".")]
    tables = [pd.read_parquet(path).assign(shard=path.stem) for path in paths]
    columns = ["id", "shard", "prompt", "time", "offset", "length"]
    return (
        pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns, dtype=str)
    )


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with replacing(path) as file:
        table.to_parquet(file, index=False)
