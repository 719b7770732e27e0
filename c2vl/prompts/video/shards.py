"""A folder of prompts in the making: crops and answers by shard, each written whole or not at all.

::

    settings.json            what the prompts depend on; another run with other settings is refused
    crops/SHARD.tar          pictures, one a prompt
    crops/SHARD.parquet      id, prompt, time, left, top, right, bottom, offset, length
    answers/SHARD-X.parquet  id, prompt, question, answer (as it came), status, text (as it is used)
    rejected.csv             what the last run could not do, with the reason
    rates.json               what the last run did, and in how many seconds

A sequence is done when its answers are there. Whatever is not done is tried again by the next
run: one that was killed goes on, and a repaired video or an endpoint that is back completes it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from c2vl.prompts.video import crops
from c2vl.prompts.video.answers import Captioner, settle
from c2vl.prompts.video.frames import Clip, sample
from c2vl.prompts.video.persons import Persons
from c2vl.skeletons.rejected import RejectedError
from c2vl.support.errors import UserError
from c2vl.support.files import replacing, see_writable, write_text

Rejected = list[tuple[str, str]]


@dataclass(frozen=True)
class CropSettings:
    """How vision prompts are cut.

    Attributes:
        prompts: frames a sequence.
        size: of a crop, pixels.
        margin: share of the box's longer side that is added around it.
        format: of the picture files.
    """

    prompts: int = 16
    size: int = 336
    margin: float = 0.1
    format: crops.Format = "jpeg"


@dataclass(frozen=True)
class Work:
    """One shard of a run: what to crop, and what to ask.

    Attributes:
        shard: its name.
        clips: those to crop; empty where the crops are there.
    """

    shard: str
    clips: tuple[Clip, ...] = ()


@dataclass
class Done:
    """What came of a shard, or of many.

    Attributes:
        cropped, answered: sequences.
        pictures, captions: prompts.
        crop_seconds, answer_seconds: of work, over all workers.
        statuses: answers by what they were (``ok``, ``cut``, ``empty``, ``refusal``).
        rejected: sequences that came to nothing, with the reason.
    """

    cropped: int = 0
    answered: int = 0
    pictures: int = 0
    captions: int = 0
    crop_seconds: float = 0.0
    answer_seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    rejected: Rejected = field(default_factory=list)

    def add(self, other: Done) -> None:
        """Add another shard's."""
        for name in ("cropped", "answered", "pictures", "captions"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.crop_seconds += other.crop_seconds
        self.answer_seconds += other.answer_seconds
        for what, number in other.statuses.items():
            self.statuses[what] = self.statuses.get(what, 0) + number
        self.rejected += other.rejected


class Folder:
    """The folder of a run.

    Args:
        path: where it is, on storage that all workers reach.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.crops, self.answers = path / "crops", path / "answers"

    def claim(self, settings: dict[str, Any]) -> None:
        """Make the folder, or go on with one of the same settings.

        Raises:
            UserError: it was made with other settings, is something else, or cannot be written.
        """
        file = self.path / "settings.json"
        if file.is_file():
            found = self.settings
            changed = [key for key in settings if found.get(key) != settings[key]]
            if changed:
                key = changed[0]
                raise UserError(
                    f"{self.path}: was begun with {key} {found.get(key)!r}, and {settings[key]!r} "
                    "is asked for now; give another OUT"
                )
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise UserError(f"{self.path}: exists and is no folder of prompts; give another OUT")
        see_writable(self.path)
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
        """All crops: shard, id, prompt, time, box, offset, length."""
        return _all(self.crops, "*.parquet", lambda path: path.stem)

    def answered(self) -> pd.DataFrame:
        """All answers: shard (of the crops), id, prompt, question, answer, status, text."""
        return _all(self.answers, "*.parquet", lambda path: path.stem.rpartition("-")[0])

    def work(self, clips: Sequence[Clip], shard_size: int, *, asking: bool) -> list[Work]:
        """List what is not done of the given clips, shard by shard."""
        cropped = self.cropped()
        shard_of = dict(zip(cropped["id"], cropped["shard"], strict=True))
        answered = set(self.answered()["id"]) if asking else set(shard_of)
        waiting = [c for c in clips if c.id in shard_of and c.id not in answered]
        found = [Work(shard) for shard in dict.fromkeys(shard_of[c.id] for c in waiting)]
        new = [clip for clip in clips if clip.id not in shard_of]
        for start in range(0, len(new), shard_size):
            part = tuple(new[start : start + shard_size])
            found.append(Work(_name([clip.id for clip in part]), part))
        return found

    def picture(self, shard: str, offset: int, length: int) -> bytes:
        """Return a crop's bytes."""
        return crops.read_crop(self.crops / f"{shard}.tar", offset, length)


def crop_shard(folder: Folder, work: Work, settings: CropSettings, persons: Persons) -> Done:
    """Do the first half of a shard: frames, boxes, crops. Nothing where the crops are there."""
    target = folder.crops / f"{work.shard}.parquet"
    if not work.clips or target.is_file():
        return Done()
    done, began = Done(), time.perf_counter()
    pictures: dict[str, bytes] = {}
    rows: list[dict[str, Any]] = []
    for clip in work.clips:
        try:
            frames = sample(clip, settings.prompts)
            boxes = crops.fill(persons.boxes(clip.id, frames))
        except RejectedError as error:
            done.rejected.append((clip.id, str(error)))
            continue
        for i, (frame, box) in enumerate(zip(frames, boxes, strict=True)):
            square = crops.crop(frame.image, box, margin=settings.margin, size=settings.size)
            data = crops.encode(square, settings.format)
            name = f"{clip.id}/{i:03d}.{settings.format}"
            pictures[name] = data
            row = dict(zip(("left", "top", "right", "bottom"), box, strict=True))
            rows.append({"id": clip.id, "prompt": i, "time": frame.time, **row, "name": name})
        done.cropped += 1
    done.pictures = len(rows)
    if rows:
        places = crops.write_shard(folder.crops / f"{work.shard}.tar", pictures)
        table = pd.DataFrame(rows)
        table["offset"] = [places[name] for name in table["name"]]
        table["length"] = [len(pictures[name]) for name in table["name"]]
        _write_table(target, table.drop(columns="name"))
    done.crop_seconds = time.perf_counter() - began
    return done


def ask_shard(folder: Folder, work: Work, questions: Sequence[str], captioner: Captioner) -> Done:
    """Do the second half of a shard: ask about those crops that have no answers yet."""
    source = folder.crops / f"{work.shard}.parquet"
    if not source.is_file():  # nothing could be cropped
        return Done()
    done, began = Done(), time.perf_counter()
    table = pd.read_parquet(source)
    asked = [
        pd.read_parquet(p, columns=["id"]) for p in folder.answers.glob(f"{work.shard}-*.parquet")
    ]
    known = set().union(*(set(part["id"]) for part in asked)) if asked else set()
    table = table[~table["id"].isin(known)].reset_index(drop=True)
    if table.empty:
        return done
    pictures = [
        folder.picture(work.shard, offset, length)
        for offset, length in zip(table["offset"], table["length"], strict=True)
    ]
    table = table[["id", "prompt"]].copy()
    table["question"] = [questions[i % len(questions)] for i in table["prompt"]]
    answers = captioner.answers(pictures, list(table["question"]))
    kept: list[pd.DataFrame] = []
    for name, rows in table.groupby("id", sort=False):
        mine = [answers[i] for i in rows.index]
        try:
            texts, statuses = settle(mine)
        except RejectedError as error:
            done.rejected.append((str(name), str(error)))
            continue
        said = [answer.text for answer in mine]
        kept.append(rows.assign(answer=said, status=statuses, text=texts))
        for status in statuses:
            done.statuses[status] = done.statuses.get(status, 0) + 1
    if kept:
        answered = pd.concat(kept, ignore_index=True)
        done.answered, done.captions = len(kept), len(answered)
        tail = _name(list(answered["id"].unique()))
        _write_table(folder.answers / f"{work.shard}-{tail}.parquet", answered)
    done.answer_seconds = time.perf_counter() - began
    return done


def _name(ids: list[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def _all(folder: Path, pattern: str, shard: Callable[[Path], str]) -> pd.DataFrame:
    def parts() -> Iterator[pd.DataFrame]:
        for path in sorted(folder.glob(pattern)):
            if not path.name.startswith("."):
                yield pd.read_parquet(path).assign(shard=shard(path))

    tables = list(parts())
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["id", "shard"])


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with replacing(path) as file:
        table.to_parquet(file, index=False)
