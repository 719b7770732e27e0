"""From video to crops and captions: in one process, or on Ray Data with actors that hold models.

Both write the same shards (:mod:`c2vl.prompts.video.shards`), and either continues where the other
stopped.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from c2vl.prompts.table import write_rejected
from c2vl.prompts.video.answers import Captioner
from c2vl.prompts.video.captioners import LocalCaptioner
from c2vl.prompts.video.endpoint import Endpoint
from c2vl.prompts.video.frames import Clip
from c2vl.prompts.video.persons import ColourJoints, Detector, Persons, WholePicture
from c2vl.prompts.video.shards import CropSettings, Done, Folder, Work, ask_shard, crop_shard
from c2vl.support.errors import UserError
from c2vl.support.progress import Progress
from c2vl.support.ray_session import connected

FindPersons = WholePicture | ColourJoints | Detector
Ask = LocalCaptioner | Endpoint


@dataclass(frozen=True)
class Scale:
    """How the work is spread.

    Attributes:
        workers: actors that caption, each with the model; 0: everything in this process.
        croppers: workers that decode and crop (and detect).
        gpus: of a worker that holds a model.
        shard: sequences a shard: what a kill can cost, and what one model call sees.
    """

    workers: int = 0
    croppers: int = 1
    gpus: float = 0.0
    shard: int = 32


def run(
    clips: Sequence[Clip],
    out: Path,
    persons: FindPersons,
    captioner: Ask | None,
    *,
    questions: Sequence[str] = (),
    cropping: CropSettings | None = None,
    scale: Scale | None = None,
    dataset: str = "",
    wrong: Sequence[tuple[str, str]] = (),
    progress: Progress | None = None,
) -> Done:
    """Crop and caption clips, going on with what is at ``out``.

    Args:
        clips: the sequences.
        out: the folder of the run, on storage that all workers reach.
        persons: finds the person.
        captioner: answers the questions; None: crops alone.
        questions: frames take them in turn.
        cropping: how vision prompts are cut.
        scale: how the work is spread.
        dataset: for the record.
        wrong: sequences that are rejected beforehand, with the reason.
        progress: called with sequences done and to do.

    Returns:
        What this run did; ``rejected.csv`` and ``rates.json`` tell the same.

    Raises:
        UserError: ``out`` holds something else, or a model does not load.
    """
    cropping, scale = cropping or CropSettings(), scale or Scale()
    folder = Folder(out.absolute())
    folder.claim(
        {
            "format": 1,
            "dataset": dataset,
            "persons": persons.identity,
            **asdict(cropping),
            "model": captioner.identity if captioner is not None else "",
            "questions": list(questions) if captioner is not None else [],
        }
    )
    work = folder.work(clips, scale.shard, asking=captioner is not None)
    total = Done(rejected=list(wrong))
    todo = sum(len(each.clips) for each in work)  # shards that only wait for answers add to it
    began, told = time.perf_counter(), 0
    doing = _here if scale.workers == 0 else _on_ray
    for done in doing(folder, work, cropping, persons, captioner, tuple(questions), scale):
        total.add(done)
        told += (done.answered if captioner is not None else done.cropped) + len(done.rejected)
        if progress is not None:
            progress(told, max(todo, told))
    write_rejected(folder.path / "rejected.csv", total.rejected)
    _write_rates(folder, total, time.perf_counter() - began, scale)
    return total


def _here(
    folder: Folder,
    work: Sequence[Work],
    cropping: CropSettings,
    persons: Persons,
    captioner: Captioner | None,
    questions: tuple[str, ...],
    scale: Scale,
) -> Iterator[Done]:
    for each in work:
        done = crop_shard(folder, each, cropping, persons)
        if captioner is not None:
            done.add(ask_shard(folder, each, questions, captioner))
        yield done


class _Cropper:
    """A Ray Data stage: holds what finds persons, and crops shards."""

    def __init__(self, folder: Path, cropping: CropSettings, persons: FindPersons) -> None:
        self.folder, self.cropping, self.persons = Folder(folder), cropping, persons

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            done = crop_shard(self.folder, row["work"], self.cropping, self.persons)
        except UserError as mistake:  # as a row: Ray would wrap it in tracebacks
            return row | {"done": Done(), "mistake": str(mistake)}
        return row | {"done": done, "mistake": ""}


class _Asker:
    """A Ray Data stage: holds the captioner, and asks about shards."""

    def __init__(self, folder: Path, questions: tuple[str, ...], captioner: Ask) -> None:
        self.folder, self.questions, self.captioner = Folder(folder), questions, captioner

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if not row["mistake"]:
            try:
                done = ask_shard(self.folder, row["work"], self.questions, self.captioner)
                row["done"].add(done)
            except UserError as mistake:
                row["mistake"] = str(mistake)
        return row


def _on_ray(
    folder: Folder,
    work: Sequence[Work],
    cropping: CropSettings,
    persons: FindPersons,
    captioner: Ask | None,
    questions: tuple[str, ...],
    scale: Scale,
) -> Iterator[Done]:
    """The same by Ray Data; a worker that is lost is replaced, and its shard done again."""
    if not work:
        return
    import ray.data

    with ray_session(scale.workers + scale.croppers):
        rows: Any = ray.data.from_items(
            [{"work": each} for each in work], override_num_blocks=len(work)
        )
        detecting = isinstance(persons, Detector)
        rows = rows.map(
            _Cropper,
            fn_constructor_args=(folder.path, cropping, persons),
            concurrency=scale.croppers,
            num_gpus=scale.gpus if detecting and scale.gpus else None,
        )
        if captioner is not None:
            local = isinstance(captioner, LocalCaptioner)
            rows = rows.map(
                _Asker,
                fn_constructor_args=(folder.path, questions, captioner),
                concurrency=scale.workers,
                num_gpus=scale.gpus if local and scale.gpus else None,
            )
        for row in rows.iter_rows():
            if row["mistake"]:
                raise UserError(row["mistake"])
            yield row["done"]


@contextmanager
def ray_session(actors: int) -> Iterator[None]:
    """Connect to the cluster that ``RAY_ADDRESS`` names, or start Ray here for a while.

    Args:
        actors: that run at once; Ray started here lets them, on however few cores.
    """
    import ray.data

    cores = max(os.cpu_count() or 1, actors)
    with connected(
        starting={"num_cpus": cores, "include_dashboard": False},
        log_to_driver=False,
        logging_level=logging.WARNING,
    ):
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield


def _write_rates(folder: Folder, done: Done, seconds: float, scale: Scale) -> None:
    """Keep what a run measured, for :mod:`c2vl.prompts.video.estimate`, unless it did nothing."""
    if not done.pictures and not done.captions:
        return
    rates = {
        "seconds": round(seconds, 3),
        "crop_seconds": round(done.crop_seconds, 3),
        "answer_seconds": round(done.answer_seconds, 3),
        "pictures": done.pictures,
        "captions": done.captions,
        "answers": done.statuses,
        "workers": scale.workers,
        "croppers": scale.croppers,
    }
    path = folder.path / "rates.json"
    temporary = path.with_name(".tmp-rates.json")
    temporary.write_text(json.dumps(rates, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
