"""Our objectives and schedule shapes, by their names."""

from c2vl.registry import register

register(
    "objective",
    "c2vl",
    "c2vl.objective.contrast:Contrast",
    settings="c2vl.objective.settings:ContrastSettings",
    help="softened cross-modal contrast with language and vision concepts",
)
register(
    "objective",
    "supervised",
    "c2vl.objective.supervised:Supervised",
    settings="c2vl.objective.settings:SupervisedSettings",
    help="cross-entropy with the labels: a reference",
)
register(
    "objective",
    "skeletonclr",
    "c2vl.objective.instance_contrast:SkeletonCLR",
    settings="c2vl.objective.settings:SkeletonCLRSettings",
    help="contrast of two views of a skeleton, with a queue of keys: a reference",
)
register(
    "objective",
    "aimclr",
    "c2vl.objective.instance_contrast:AimCLR",
    settings="c2vl.objective.settings:AimCLRSettings",
    help="the same with extreme augmentations and mined neighbours: a reference",
)
register(
    "objective",
    "masked_motion",
    "c2vl.objective.masked_motion:MaskedMotion",
    settings="c2vl.objective.settings:MaskedMotionSettings",
    help="prediction of the motion of hidden joints and times: a reference",
)
for _shape in ("constant", "linear", "cosine", "exponential", "step"):
    register("schedule", _shape, f"c2vl.objective.schedule:{_shape}")
