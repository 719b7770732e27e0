"""``c2vl prompts video``, ``encode`` and ``estimate``: prompts from RGB video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from c2vl.support.errors import UserError
from c2vl.support.extras import need_extra

FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("source", type=FOLDER)
@click.argument("out", type=FOLDER)
@click.option(
    "--dataset",
    type=click.Choice(["ntu", "pku-mmd", "utd-mhad", "list"]),
    required=True,
    help="How SOURCE names its videos; list: a CSV of id, video, start, end.",
)
@click.option("--labels", type=FOLDER, help="PKU-MMD's label files, which cut its videos.")
@click.option("--store", type=FOLDER, help="Only sequences of this store.")
@click.option(
    "--persons",
    default="whole",
    show_default=True,
    help="Where the person is: a folder of NTU .skeleton files, a zero-shot detector (folder or "
    "hub name, e.g. IDEA-Research/grounding-dino-tiny), or whole: the whole picture.",
)
@click.option("--threshold", default=0.25, show_default=True, help="Least score of a detection.")
@click.option(
    "--model", help="Image-text-to-text model: local folder, hub name or, there, its name"
)
@click.option("--endpoint", help="OpenAI-compatible address up to /v1; else the model runs here.")
@click.option(
    "--question",
    "given",
    multiple=True,
    help="A question, several (frames take turns), or a set: paper or body.  [default: paper]",
)
@click.option("--frames", default=16, show_default=True, type=click.IntRange(1, 256))
@click.option("--size", default=336, show_default=True, type=click.IntRange(16, 2048))
@click.option("--margin", default=0.1, show_default=True, type=click.FloatRange(0, 2))
@click.option("--format", type=click.Choice(["jpeg", "webp"]), default="jpeg", show_default=True)
@click.option("--batch", default=16, show_default=True, type=click.IntRange(1), help="Pictures.")
@click.option("--max-tokens", default=64, show_default=True, type=click.IntRange(1))
@click.option("--concurrency", default=8, show_default=True, help="Requests under way at once.")
@click.option("--timeout", default=120.0, show_default=True, help="Seconds for one answer.")
@click.option("--tries", default=5, show_default=True, type=click.IntRange(1), help="Of a request.")
@click.option(
    "--workers", default=0, show_default=True, help="Captioning actors on Ray; 0: one process."
)
@click.option("--croppers", default=1, show_default=True, help="Cropping actors on Ray.")
@click.option("--gpus", default=0.0, show_default=True, help="GPUs of an actor with a model.")
@click.option("--shard", default=32, show_default=True, type=click.IntRange(1), help="Sequences.")
def video(source: Path, out: Path, **options: Any) -> None:
    """Sample frames of SOURCE's videos, crop the person, and caption the crops, into OUT.

    Works shard by shard: the same command goes on after an interruption, and tries again what is
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
    need_extra("video", "c2vl prompts video")
    from c2vl.prompts.video import pipeline
    from c2vl.prompts.video import sources as videos
    from c2vl.prompts.video.questions import questions
    from c2vl.prompts.video.shards import CropSettings
    from c2vl.support.progress import progress

    clips = videos.find(options["dataset"], source, options["labels"])
    wrong: list[tuple[str, str]] = []
    if options["store"] is not None:
        from c2vl.skeletons.store import Store

        known = {str(name) for name in Store.open(options["store"]).index["id"]}
        wrong = [(clip.id, "not in the store") for clip in clips if clip.id not in known]
        clips = [clip for clip in clips if clip.id in known]
        if not clips:
            raise UserError(
                f"{source}: none of its {len(wrong)} sequences is in {options['store']}; its names "
                f"are like {wrong[0][0]}, the store's like {min(known)}"
            )
    captioner = _captioner(options)
    with progress("sequences") as shown:
        done = pipeline.run(
            clips,
            out,
            _persons(options),
            captioner,
            questions=questions(options["given"]),
            cropping=CropSettings(
                options["frames"], options["size"], options["margin"], options["format"]
            ),
            scale=pipeline.Scale(
                options["workers"], options["croppers"], options["gpus"], options["shard"]
            ),
            dataset=options["dataset"],
            wrong=wrong,
            progress=shown,
        )
    click.echo(f"{out}: {done.cropped} sequences cropped, {done.answered} captioned in this run")
    for what, work, seconds in (
        ("crops", done.pictures, done.crop_seconds),
        ("captions", done.captions, done.answer_seconds),
    ):
        if work:
            click.echo(f"{work} {what}, {work / seconds:.1f} a second of a worker")
    odd = {name: number for name, number in sorted(done.statuses.items()) if name != "ok"}
    if odd:
        click.echo("answers: " + ", ".join(f"{number} {name}" for name, number in odd.items()))
    if done.rejected:
        name, why = done.rejected[0]
        raise UserError(
            f"{len(done.rejected)} sequences are not done: see {out / 'rejected.csv'} (the first "
            f"is {name}: {why}); everything else is kept, and the same command tries them again"
        )


def _captioner(options: dict[str, Any]) -> Any:
    if options["endpoint"]:
        from c2vl.prompts.video.endpoint import Endpoint

        if not options["model"]:
            raise UserError("--endpoint: say with --model what the model is called there")
        return Endpoint(
            options["endpoint"],
            options["model"],
            concurrency=options["concurrency"],
            max_tokens=options["max_tokens"],
            timeout=options["timeout"],
            tries=options["tries"],
        )
    if not options["model"]:
        return None  # crops alone
    from c2vl.prompts.video.captioners import LocalCaptioner

    return LocalCaptioner.load(
        options["model"], batch_size=options["batch"], max_tokens=options["max_tokens"]
    )


def _persons(options: dict[str, Any]) -> Any:
    from c2vl.prompts.video.persons import ColourJoints, Detector, WholePicture

    given = str(options["persons"])
    if given == "whole":
        return WholePicture()
    folder = Path(given)
    if folder.is_dir() and not (folder / "config.json").is_file():
        return ColourJoints(folder.absolute())
    return Detector.load(given, threshold=options["threshold"])


@click.command()
@click.argument("run", type=FOLDER)
@click.argument("out", type=FOLDER)
@click.option("--modality", type=click.Choice(["language", "vision"]), required=True)
@click.option("--encoder", help="Folder or hub name; CLIP and SigLIP read both modalities.")
@click.option("--store", type=FOLDER, help="Leave out what this store does not have.")
@click.option(
    "--long",
    type=click.Choice(["split", "cut"]),
    default="split",
    show_default=True,
    help="Captions longer than the encoder reads: mean over their parts, or their start.",
)
@click.option("--cache", type=FOLDER, help="Where features are kept.  [default: OUT/../cache]")
@click.option("--workers", default=0, show_default=True, help="Actors on Ray; 0: this process.")
@click.option("--gpus", default=0.0, show_default=True, help="GPUs of an actor.")
@click.option("--overwrite", is_flag=True, help="Replace another table at OUT.")
def encode(run: Path, out: Path, modality: str, encoder: str | None, **options: Any) -> None:
    """Encode the answers or the crops of RUN (``c2vl prompts video``) into the table OUT.

    \b
    Examples:
      c2vl prompts encode runs/ntu60/prompts runs/stores/ntu60/language --modality language \\
          --encoder openai/clip-vit-large-patch14-336 --store runs/stores/ntu60
      c2vl prompts encode runs/ntu60/prompts runs/stores/ntu60/vision --modality vision \\
          --encoder openai/clip-vit-large-patch14-336 --workers 8 --gpus 1
    """
    from c2vl.prompts.encoders import DEFAULT
    from c2vl.prompts.encoders.image import ImageEncoder
    from c2vl.prompts.encoders.text import TextEncoder
    from c2vl.prompts.video import tables as run_tables
    from c2vl.skeletons.store import Store
    from c2vl.support.progress import progress

    shared = {name: options[name] for name in ("cache", "workers", "gpus", "overwrite")}
    shared["store"] = Store.open(options["store"]) if options["store"] is not None else None
    if modality == "language":
        text = TextEncoder.load(encoder or DEFAULT, long=options["long"])
        with progress("captions encoded") as shown:
            made = run_tables.language(run, out, text, progress=shown, **shared)
    else:
        if encoder is None:
            raise UserError(
                "--encoder: pictures need a CLIP or a SigLIP; name its folder or hub name"
            )
        with progress("sequences encoded") as shown:
            made = run_tables.vision(run, out, ImageEncoder.load(encoder), progress=shown, **shared)
    counts = made.table.manifest["counts"]
    click.echo(
        f"{out}: {counts['sequences']} sequences × {counts['prompts_per_sequence']} {modality} "
        f"prompts, {counts['dim']} numbers each"
    )
    if counts["rejected"]:
        click.echo(f"{counts['rejected']} sequences were left out: see {out / 'rejected.csv'}")


@click.command()
@click.argument("run", type=FOLDER)
@click.option("--sequences", default=114480, show_default=True, help="Videos (NTU RGB+D 120).")
@click.option("--frames", default=16, show_default=True, help="Of each.")
@click.option("--gpus", multiple=True, type=int, default=(1, 8), show_default=True)
@click.option("--cpus", default=8, show_default=True, help="Cores that crop, for each GPU.")
@click.option("--crops-per-second", type=float, help="Of a core, in place of what RUN measured.")
@click.option("--captions-per-second", type=float, help="Of a GPU, in place of what RUN measured.")
def estimate(
    run: Path,
    sequences: int,
    frames: int,
    gpus: tuple[int, ...],
    cpus: int,
    crops_per_second: float | None,
    captions_per_second: float | None,
) -> None:
    """Estimate the hours for a whole dataset from the rates that RUN measured on some videos.

    \b
    Example:
      c2vl prompts estimate runs/ntu60/prompts --captions-per-second 20
    """
    from c2vl.prompts.video.estimate import hours, measured

    rates = measured(run, crops=crops_per_second, captions=captions_per_second)
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
