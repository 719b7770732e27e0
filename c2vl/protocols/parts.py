"""Our protocols, by their names."""

from c2vl.protocols.settings import (
    RetrievalSettings,
    SemiSupervisedSettings,
    TrainingSettings,
    ZeroShotSettings,
)
from c2vl.registry import register

register(
    "protocol",
    "linear",
    "c2vl.protocols.linear:linear",
    help="Linear probe: convex to its optimum; SGD as published, last and best epoch.",
)
register(
    "protocol",
    "knn",
    "c2vl.protocols.knn:knn",
    help="Nearest neighbours (k = 1, 20) and retrieval (mAP), cosine.",
)
register(
    "protocol",
    "clustering",
    "c2vl.protocols.clustering:clustering",
    help="k-means against the classes: NMI and ARI.",
)
register(
    "protocol",
    "few-shot",
    "c2vl.protocols.fewshot:few_shot",
    help="Nearest class mean of 1 and 5 labelled sequences a class, 50 draws.",
)
register(
    "protocol",
    "zero-shot",
    "c2vl.protocols.zeroshot:zero_shot",
    settings=ZeroShotSettings,
    help="Classify by the texts of the classes; no label is read.",
)
register(
    "protocol",
    "retrieval",
    "c2vl.protocols.retrieval:retrieval",
    settings=RetrievalSettings,
    help="Motions by their captions and captions by their motions; no label is read.",
)
register(
    "protocol",
    "robustness",
    "c2vl.protocols.robustness:robustness",
    help="Missing joints, shorter clips, other views, noise: a curve each.",
)
register(
    "protocol",
    "semi-supervised",
    "c2vl.protocols.finetune:semi_supervised",
    settings=SemiSupervisedSettings,
    help="Fine-tune with 1 % and 10 % of the labels, 5 draws.",
)
register(
    "protocol",
    "fine-tune",
    "c2vl.protocols.finetune:fine_tune",
    settings=TrainingSettings,
    help="Train encoder and classifier on all labels.",
)
register(
    "protocol",
    "supervised",
    "c2vl.protocols.finetune:supervised",
    settings=TrainingSettings,
    help="The same network from random weights on all labels: a baseline.",
)
register(
    "protocol",
    "raw-neighbours",
    "c2vl.protocols.knn:raw_neighbours",
    help="Nearest neighbours of the preprocessed joints, without a network: a baseline.",
)
