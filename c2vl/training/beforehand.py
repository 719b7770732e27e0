"""What training needs of its data, looked at in under a second: nothing here imports torch.

A mistake is told without pandas as well, whose import takes half of that.
"""

from __future__ import annotations

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
    seen = parts.train if settings.pretrain_on_validation else parts.train[fold != 0]
    require_labels(experiment, np.asarray(index["label"])[seen])
    ids = [str(name) for name in np.asarray(index["id"])[parts.train]]
    says = f"{dataset} {settings.split}: {len(ids)} for training"
    for (modality, folder), table in tables.items():
        there = int(table.joined(ids).present.sum())
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
    require_writable(Cache.of(Store.open(settings.store)).folder)
    return says


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
