"""From videos to crops and captions, shard by shard (:mod:`c2vl.prompts.video.shards`)."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from c2vl.prompts.table_writing import write_rejected
from c2vl.prompts.video.answers import Captioner
from c2vl.prompts.video.endpoint import Endpoint
from c2vl.prompts.video.frames import Clip
from c2vl.prompts.video.persons import Detector, Persons
from c2vl.prompts.video.shards import CropSettings, PromptFolder, Tally, ask_shard, crop_shard
from c2vl.prompts.video.stages import Stage, run_stages
from c2vl.support.files import write_text
from c2vl.support.progress import Progress


def run(
    clips: Sequence[Clip],
    out: Path,
    persons: Persons,
    captioner: Captioner | None,
    *,
    questions: Sequence[str] = (),
    cropping: CropSettings | None = None,
    workers: int = 0,
    croppers: int = 1,
    gpus: float = 0.0,
    shard_size: int = 32,
    dataset: str = "",
    rejected: Sequence[tuple[str, str]] = (),
    progress: Progress | None = None,
) -> Tally:
    """Crop and caption clips; continues what is at ``out``.

    Args:
        out: the folder of prompts, on storage that all workers reach.
        captioner: answers the questions; None: crops alone.
        questions: frames take them in turn.
        workers: captioning actors on Ray; 0: everything in this process.
        gpus: of an actor that holds a model.
        shard_size: sequences a shard: what an interruption can lose, and what one model call sees.
        rejected: sequences that are rejected beforehand, with the reason.

    Returns:
        What this run did; ``rejected.csv`` and ``rates.json`` hold the same.

    Raises:
        UserError: ``out`` holds something else, or a model does not load.
    """
    cropping, asking = cropping or CropSettings(), captioner is not None
    folder = PromptFolder(out.absolute())
    folder.claim(
        {
            "format": 1,
            "dataset": dataset,
            "persons": persons.identity,
            **asdict(cropping),
            "model": captioner.identity if captioner else "",
            "questions": list(questions) if asking else [],
        }
    )
    find = partial(crop_shard, folder, cropping, persons)
    stages = [Stage("crop", find, croppers, gpus if isinstance(persons, Detector) else 0)]
    if captioner is not None:
        ask = partial(ask_shard, folder, tuple(questions), captioner)
        stages.append(
            Stage("caption", ask, workers, 0 if isinstance(captioner, Endpoint) else gpus)
        )
    shards = folder.unfinished(clips, shard_size, asking=asking)
    total = Tally(rejected=list(rejected))
    todo = sum(len(shard.clips) for shard in shards)  # shards that lack answers alone add to it
    began, done = time.perf_counter(), 0
    for tallies in run_stages(shards, stages, on_ray=workers > 0):
        for tally in tallies:
            total.add(tally)
            done += len(tally.rejected)
        done += tallies[-1].answered if asking else tallies[-1].cropped
        if progress is not None:
            progress(done, max(todo, done))
    write_rejected(folder.path / "rejected.csv", total.rejected)
    if total.pictures or total.captions:
        rates = {
            "seconds": round(time.perf_counter() - began, 3),
            "crop_seconds": round(total.crop_seconds, 3),
            "answer_seconds": round(total.answer_seconds, 3),
            "pictures": total.pictures,
            "captions": total.captions,
            "answers": dict(total.statuses),
            "workers": workers,
            "croppers": croppers,
        }
        write_text(folder.path / "rates.json", json.dumps(rates, indent=1) + "\n")
    return total
