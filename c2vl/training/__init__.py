"""Training one encoder: the loop, its launch with Ray Train, and our own optimizers."""

from c2vl.registry import register

register(
    "optimizer",
    "sgd",
    "c2vl.training.optimizers:sgd",
    settings="c2vl.training.settings:SGDSettings",
    help="SGD with momentum, the lineage's",
)
register(
    "optimizer",
    "adamw",
    "c2vl.training.optimizers:adamw",
    settings="c2vl.training.settings:AdamWSettings",
    help="AdamW",
)
