"""Our optimizers, by their names."""

from c2vl.registry import register

register(
    "optimizer",
    "sgd",
    "c2vl.training.optimizers:sgd",
    settings="c2vl.training.optimizer_settings:SGDSettings",
    help="SGD with momentum, the lineage's",
)
register(
    "optimizer",
    "adamw",
    "c2vl.training.optimizers:adamw",
    settings="c2vl.training.optimizer_settings:AdamWSettings",
    help="AdamW",
)
