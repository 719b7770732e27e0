"""The supervised baseline: the same encoder, batches and budget, trained with labels."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from c2vl.config import Experiment
from c2vl.encoder import Encoder
from c2vl.protocols.report import random_encoder
from c2vl.skeletons.store import Store
from c2vl.training.batches import TrainingSet, stream_batches
from c2vl.training.learner import learning_rate


def train_supervised(experiment: Experiment) -> Encoder:
    """Train the experiment's encoder with a linear classifier and cross-entropy.

    Everything but the loss is the experiment's own: initial weights, data order, augmentation,
    learning rate and number of epochs. The concept tables are not read.

    Returns:
        The encoder without its classifier; a linear probe on it is the supervised figure.
    """
    source = TrainingSet(experiment, with_concepts=False)
    store = Store.open(experiment.data.store)
    encoder = random_encoder(experiment, store)
    model = encoder.model
    classifier = nn.Linear(encoder.feature_size, len(store.class_names))
    labels = torch.from_numpy(source.labels)
    settings = experiment.optim
    solver = torch.optim.SGD(
        [*model.parameters(), *classifier.parameters()],
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov and settings.momentum > 0,
    )
    steps = experiment.train.epochs * source.steps_per_epoch
    model.train()
    batches = stream_batches(source, 0, steps, 0, torch.device("cpu"))
    for step, (batch, _) in enumerate(batches):
        for group in solver.param_groups:
            group["lr"] = learning_rate(settings, step / steps)
        loss = functional.cross_entropy(
            classifier(model(batch.x, batch.present)), labels[batch.index], label_smoothing=0.1
        )
        solver.zero_grad()
        loss.backward()
        solver.step()
    model.eval()
    return encoder
