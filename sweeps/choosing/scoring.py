"""Scores the winner and its references on the test part: a test scoring each, by each protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from c2vl.config.experiment import Experiment
from c2vl.registry import find
from sweeps.choosing.final_choice import (
    CAPTIONS,
    JOINTS,
    NO_SEED,
    RANDOM,
    WINNER,
    FinalChoice,
    Scores,
    row_title,
    write_choice,
)
from sweeps.choosing.final_trainings import Ranked, trainings_of_row
from sweeps.spec.sweep import SweepSettings
from sweeps.spec.training import Training


def score_on_test(
    spec: SweepSettings, final: FinalChoice, ranked: Ranked, winner: Training, stop: object
) -> FinalChoice:
    """Score the winner and its references on the test part.

    Each score is saved as soon as it is computed, and never computed again.

    Args:
        final: the choice, made already.
        ranked: complete trials, best first.
        stop: true when the sweep should end now.
    """
    wanted: dict[str, dict[str, Callable[[], Scores]]] = {}
    for who in (WINNER, RANDOM, *spec.final.beside):
        if who in (CAPTIONS, JOINTS):
            compute = _captions if who == CAPTIONS else _joints
            wanted[who] = {NO_SEED: partial(compute, winner.experiment)}
        else:
            trainings = trainings_of_row(spec, ranked, winner, WINNER if who == RANDOM else who)
            wanted[who] = {
                str(training.experiment.seed): partial(_encoder, spec, training, who)
                for training in trainings
            }
    test = {who: dict(final.test.get(who, {})) for who in wanted}
    for who, by_seed in wanted.items():
        for seed, score in by_seed.items():
            if seed in test[who]:
                continue
            if stop:
                return final
            test[who][seed] = score()
            final = replace(final, test={name: found for name, found in test.items() if found})
            write_choice(spec.folder, final)
    return final


def _encoder(spec: SweepSettings, training: Training, who: str) -> Scores:
    """Score a training's encoder, or the random one that it started from.

    The protocols' rows are kept (``c2vl evaluate table`` reads them), and each scoring is counted.
    """
    from c2vl.encoder import load_encoder
    from c2vl.protocols.evaluate import Evaluation
    from c2vl.protocols.supervised import fresh as untrained
    from c2vl.protocols.task import Task
    from c2vl.skeletons.store import Store

    data, seed = training.experiment.data, training.experiment.seed
    with training.run.having_encoder() as folder:
        encoder = load_encoder(folder)
    if who == RANDOM:
        encoder = untrained(encoder, seed)
    store, by, k = Store.open(data.store), data.validation_by, data.validation_folds
    task = Task(encoder, store, data.split, "test", seed, by, k)
    results = spec.folder.results
    evaluation = Evaluation(results, {"concepts": training.experiment.prompts.language})
    rows = [
        row
        for protocol in spec.final.protocols
        if set(_needs(protocol)) <= set(encoder.concepts)
        for row in evaluation.run(protocol, task, ledger=results, label=row_title(who))
    ]
    return {row.key: row.value for row in rows}


def _needs(protocol: str) -> Sequence[str]:
    """Return the modalities whose map a protocol needs of the encoder."""
    settings = find("protocol", protocol).load_settings()
    found: Sequence[str] = getattr(settings, "needs_maps", ())
    return found


def _captions(experiment: Experiment) -> Scores:
    from c2vl.protocols.references import captions
    from c2vl.skeletons.store import Store

    data, table = experiment.data, experiment.prompts.language
    assert table is not None, "checked with the sweep"
    return captions(Store.open(data.store), data.split, table)


def _joints(experiment: Experiment) -> Scores:
    from c2vl.protocols.references import raw_joints
    from c2vl.skeletons.store import Store

    data = experiment.data
    store = Store.open(data.store)
    return raw_joints(store, data.split, frames=data.frames, centre=data.centre, align=data.align)
