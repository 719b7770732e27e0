"""Run a protocol once, keep its rows, and count what reads the test part."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from c2vl.encoder import Encoder
from c2vl.encoder.ledger import count_scoring
from c2vl.protocols.clustering import clustering
from c2vl.protocols.fewshot import few_shot
from c2vl.protocols.finetune import DRAWS, fine_tune, semi_supervised
from c2vl.protocols.knn import knn
from c2vl.protocols.linear import judge, linear
from c2vl.protocols.references import raw_neighbours
from c2vl.protocols.results import Result, file_of, read_results, to_results, write_results
from c2vl.protocols.robustness import robustness
from c2vl.protocols.shared_linear import judge_together
from c2vl.protocols.supervised import Recipe, fresh
from c2vl.protocols.task import Outcome, Task
from c2vl.protocols.three_streams import WEIGHTS, ensemble
from c2vl.protocols.workers import Machines
from c2vl.protocols.zeroshot import By, zero_shot
from c2vl.support.files import unwritable, write_text
from c2vl.support.progress import progress


@dataclass(frozen=True)
class Options:
    """How protocols are run.

    Attributes:
        out: the results folder.
        recipe, machines: of the protocols that fine-tune.
        draws: label draws of the semi-supervised protocol.
        zero_shot_by, texts, concepts: see :func:`~.zeroshot.zero_shot`.
        again: run also what is there already.
        say: told a line before each run.
    """

    out: Path
    recipe: Recipe = field(default_factory=Recipe)
    machines: Machines = field(default_factory=Machines)
    draws: int = DRAWS
    zero_shot_by: By = "head"
    texts: Mapping[str, Sequence[str]] | None = None
    concepts: Path | None = None
    again: bool = False
    say: Callable[[str], None] = lambda _: None


def _linear(task: Task, options: Options, work: Path) -> list[Outcome]:
    if options.machines.workers > 1:
        return linear(task, partial(judge_together, work=work, machines=options.machines))
    _ = task.rows  # these have their own progress
    with progress("probes") as shown:
        return linear(task, partial(judge, told=shown))


Run = Callable[[Task, Options, Path], list[Outcome]]
PROTOCOLS: dict[str, Run] = {
    "linear": _linear,
    "knn": lambda task, options, work: knn(task),
    "clustering": lambda task, options, work: clustering(task),
    "few-shot": lambda task, options, work: few_shot(task),
    "zero-shot": lambda task, options, work: zero_shot(
        task, by=options.zero_shot_by, texts=options.texts, concepts=options.concepts
    ),
    "robustness": lambda task, options, work: robustness(task),
    "semi-supervised": lambda task, options, work: semi_supervised(
        task, work, options.recipe, options.machines, draws=options.draws
    ),
    "fine-tune": lambda task, options, work: fine_tune(
        task, work, options.recipe, options.machines
    ),
    # beside the encoder: the same network from random weights, and no network at all
    "supervised": lambda task, options, work: fine_tune(
        *(task, work, options.recipe, options.machines), start=fresh(task.encoder, task.seed)
    ),
    "raw-neighbours": lambda task, options, work: raw_neighbours(task),
}
FEATURES_ALONE = ("linear", "knn", "clustering", "few-shot")
JOINTS = "raw joints"
TRAINED = ("semi-supervised", "fine-tune", "supervised")


def label_of(encoder: Encoder) -> str:
    """What a table calls an encoder that nobody named."""
    origin = encoder.card.get("provenance", {})
    kind = "supervised pretraining" if origin.get("labels used") else "C²VL"
    return f"{kind}, {encoder.card['stream']}"


def evaluate(
    protocol: str,
    task: Task,
    options: Options,
    *,
    ledger: Path,
    who: str | None = None,
    transferred: bool = False,
) -> list[Result]:
    """Run a protocol, or find what it gave the last time it was asked the same.

    Args:
        protocol: a name in ``PROTOCOLS``.
        task: what is judged.
        options: how.
        ledger: folder of the test scorings' count.
        who: label; None for the usual one.
        transferred: the store is another dataset than the encoder's: rows are filed as transfer.
    """
    return _kept(
        f"transfer-{protocol}" if transferred else protocol,
        task,
        lambda work: PROTOCOLS[protocol](task, options, work),
        options,
        _decisive(protocol, options),
        ledger,
        who or label_of(task.encoder),
    )


def evaluate_ensemble(
    tasks: Mapping[str, Task], options: Options, *, ledger: Path, who: str | None = None
) -> list[Result]:
    """Run the three-stream ensemble; filed under the joint encoder.

    Args:
        tasks: stream → its task.
        options: how.
        ledger: folder of the test scorings' count.
        who: label; None for the usual one.
    """
    found = {stream: task.encoder.digest for stream, task in tasks.items()}
    first = tasks.get("joint") or next(iter(tasks.values()))
    return _kept(
        *("ensemble", first, lambda work: ensemble(tasks), options),
        {"encoders": found, "weights": WEIGHTS},
        *(ledger, who or "C²VL, 3 streams"),
    )


def _kept(
    protocol: str,
    task: Task,
    run: Callable[[Path], list[Outcome]],
    options: Options,
    decisive: dict[str, Any],
    ledger: Path,
    who: str,
) -> list[Result]:
    path = file_of(options.out, protocol, task, who, decisive)
    what = f"{protocol}: {who}, seed {task.seed}, {task.part} part"
    if path.exists() and not options.again:
        options.say(f"{what}: is there already ({path.name})")
        return read_results(path)
    options.say(what)
    work = options.out / ".unfinished" / path.stem
    with _alone(work):
        if path.exists() and not options.again:  # another process has done it meanwhile
            return read_results(path)
        run_id = _begun(work, path)
        number = 0
        if task.part == "test":
            read = (task.encoder.digest, protocol, task.store.digest, task.split.name)
            number = count_scoring(ledger, *read, run=run_id)
        outcomes = run(work)
        rows = to_results(protocol, task, outcomes, who=who, options=decisive, test_scoring=number)
        write_results(path, rows)
        shutil.rmtree(work, ignore_errors=True)
    return rows


def _begun(work: Path, result: Path) -> str:
    """Name a run; one that was killed and goes on keeps its name, and so is counted once."""
    name = work / "run"
    if name.exists() and result.exists() and name.stat().st_mtime_ns < result.stat().st_mtime_ns:
        shutil.rmtree(work)  # it came to its end, and was killed before it had cleared up
    if not name.exists():
        work.mkdir(parents=True, exist_ok=True)
        write_text(name, uuid4().hex)
    return name.read_text(encoding="utf-8")


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Let one process at a time do a run; a second one that asks the same waits for it."""
    path = work.with_name(f"{work.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise unwritable(path, error) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _decisive(protocol: str, options: Options) -> dict[str, Any]:
    """The options that decide a protocol's figures, for its file's name and its rows."""
    if protocol in TRAINED:
        found = asdict(options.recipe)
        found["milestones"] = list(found["milestones"])
        found.pop("checkpoint_every")
        if options.machines.workers > 1:
            found["workers"] = options.machines.workers
        return found | ({"draws": options.draws} if protocol == "semi-supervised" else {})
    if protocol == "zero-shot":
        found = {"by": options.zero_shot_by}
        if options.texts is not None:
            text = json.dumps({name: list(rows) for name, rows in options.texts.items()})
            found["texts"] = hashlib.sha256(text.encode()).hexdigest()[:12]
        if options.zero_shot_by == "fitted" and options.concepts is not None:
            from c2vl.prompts.table import ConceptTable

            found["concepts"] = ConceptTable.open(options.concepts).digest
        return found
    return {}


def evaluate_all(
    encoders: Sequence[tuple[Encoder, Path]], task: Callable[[Encoder], Task], options: Options
) -> list[Result]:
    """Run every protocol, and what encoders are read against, on any number of encoders.

    Joint encoders pass every protocol; bone and motion enter the features' protocols, and an
    ensemble with the others of their training seed. Beside them stand a random encoder, raw
    joints, and the same network trained with the labels from random weights.

    Args:
        encoders: each with its ledger's folder.
        task: makes the task of an encoder (store, split, part).
        options: how.
    """
    rows: list[Result] = []
    streams: dict[Any, dict[str, tuple[Task, Path]]] = {}
    for encoder, ledger in encoders:
        one = task(encoder)
        streams.setdefault(one.seed, {})[encoder.card["stream"]] = (one, ledger)
        full = encoder.card["stream"] == "joint"
        names = [name for name in PROTOCOLS if name not in ("supervised", "raw-neighbours")]
        for name in names if full else FEATURES_ALONE:
            asked = options
            if name == "zero-shot" and "language" not in encoder.concepts:
                if options.concepts is None:
                    options.say(f"zero-shot: {label_of(encoder)} keeps no map; left out")
                    continue
                asked = replace(options, zero_shot_by="fitted")
            rows += evaluate(name, one, asked, ledger=ledger)
    for found in streams.values():
        if set(found) == set(WEIGHTS):
            tasks = {stream: one for stream, (one, _) in found.items()}
            rows += evaluate_ensemble(tasks, options, ledger=found["joint"][1])
    judged = [found["joint"][0] for found in streams.values() if "joint" in found]
    for one in judged:
        rows += beside(one, options)
    if judged:  # no network, so no seed: once
        rows += evaluate(
            "raw-neighbours", replace(judged[0], seed=0), options, ledger=options.out, who=JOINTS
        )
    return rows


def beside(one: Task, options: Options) -> list[Result]:
    """Run what an encoder is read against, with its seed, architecture and preprocessing."""
    rows: list[Result] = []
    random = replace(one, encoder=fresh(one.encoder, one.seed))
    for name in FEATURES_ALONE:
        rows += evaluate(name, random, options, ledger=options.out, who="random encoder")
    label = "supervised from scratch"
    rows += evaluate("supervised", random, options, ledger=options.out, who=label)
    return rows
