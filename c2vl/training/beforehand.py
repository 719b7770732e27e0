"""What training needs of its data, looked at in under a second: nothing here imports torch.

A mistake is told without pandas as well, whose import takes half of that.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from c2vl.config.experiment import Experiment
from c2vl.prompts.table import ConceptTable
from c2vl.skeletons.cache import Cache
from c2vl.skeletons.splits import Table, folds, split
from c2vl.skeletons.store import Store, read_columns, read_manifest
from c2vl.support.errors import UserError
from c2vl.support.files import require_writable


def require_data(experiment: Experiment) -> str:
    """Open the store and the concept tables, and cut the split.

    Returns:
        What is there, in words.

    Raises:
        UserError: something is absent, of other data, or not enough.
    """
    settings, prompts = experiment.data, experiment.prompts
    dataset = read_manifest(settings.store)["dataset"]
    tables = {}
    for modality, folder in experiment.concept_tables().items():
        assert folder is not None, "checked with the settings"
        try:
            tables[modality, folder] = ConceptTable.open(folder, modality=modality)
        except UserError as error:
            raise UserError(f"prompts.{modality}: {error}") from None
    index: Table
    if isinstance(settings.store, str):
        index = Store.open(settings.store).index
    else:
        index = read_columns(settings.store)  # a mistake is told before pandas is imported
    parts = split(index, settings.split)
    fold = folds(index, parts.train, by=settings.validation_by, k=settings.validation_folds)
    seen = np.flatnonzero((fold != 0) | settings.pretrain_on_validation)
    require_labels(experiment, np.asarray(index["label"])[parts.train[seen]])
    ids = [str(name) for name in np.asarray(index["id"])[parts.train]]
    says = f"{dataset} {settings.split}: {len(ids)} for training"
    has = {}
    for (modality, folder), table in tables.items():
        has[modality] = table.joined(ids).present
        there = int(has[modality].sum())
        says += f", {modality} for {there}"
        if ids and not there:
            raise UserError(
                f"prompts.{modality}: {folder} is of another store: none of its {len(table.ids)} "
                f"names ({table.ids[0]}, …) is in {settings.store} ({ids[0]}, …)"
            )
        if there < len(ids) and prompts.missing == "error":
            raise UserError(
                f"prompts.{modality}: {folder} has nothing for {len(ids) - there} of {len(ids)} "
                "training sequences; make them with `c2vl prompts`, or set prompts.missing to "
                "exclude or mask"
            )
        if prompts.per_sample > table.features.shape[1]:
            raise UserError(
                f"prompts.per_sample: {prompts.per_sample} asked, but {folder} has "
                f"{table.features.shape[1]} prompts a sequence; lower it, or 0 for all"
            )
        if untold := table.untold(prompts.per_sample):
            says += f" ({untold})"
    pretrained(experiment, seen, has)
    require_writable(Cache.of(Store.open(settings.store)).folder)
    return says


def pretrained(
    experiment: Experiment, seen: NDArray[np.int64], has: Mapping[str, NDArray[np.bool_]]
) -> NDArray[np.int64]:
    """Return which of some training sequences pretraining sees, as ``prompts.missing`` says.

    Args:
        experiment: its settings.
        seen: (n,) rows of the training part, without those that are held out.
        has: modality → (N,), which of the training part have its prompts.

    Raises:
        UserError: they are too few for the workers, or for a modality's edges.
    """
    missing, workers = experiment.prompts.missing, experiment.train.workers
    what, found = f"{experiment.data.store}: split {experiment.data.split}", seen
    if has and missing != "error":
        # A sequence without any concept cannot contribute to the loss.
        every, some = np.all([*has.values()], axis=0), np.any([*has.values()], axis=0)
        found = seen[(every if missing == "exclude" else some)[seen]]
        if len(found) < len(seen):
            what = f"prompts.missing: {missing}"
    if len(found) < max(2, workers):
        raise UserError(
            f"{what} leaves {len(found)} of {len(seen)} training sequences to pretrain on, and "
            f"{workers} train.workers need {max(2, workers)}; see `c2vl data splits` and `c2vl "
            "prompts check`"
        )
    for modality, there in has.items():
        if there[found].sum() < 2:  # each is the other's negative
            raise UserError(
                f"prompts.{modality}: {there[found].sum()} of the {len(found)} sequences to "
                f"pretrain on have {modality} prompts, and 2 are needed; see `c2vl prompts check`, "
                f"or give the edges of {modality} a weight of 0 (objective.weights)"
            )
    return found


def require_labels(experiment: Experiment, labels: NDArray[np.int64]) -> None:
    """Check that what pretraining sees has classes, where the objective learns from them.

    Raises:
        UserError: some of them are below 0.
    """
    if without := int((labels < 0).sum()) if experiment.objective.uses_labels else 0:
        raise UserError(
            f"objective.name: {experiment.objective.name} learns from classes, and {without} of "
            f"the {len(labels)} training sequences of {experiment.data.store} have none; leave "
            "them out by a split of your own (data.split: a CSV file of id and part), or take an "
            "objective that reads no classes"
        )
