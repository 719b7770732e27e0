"""Our augmentations, by their names."""

from c2vl.registry import register

register(
    "augmentation",
    "geometric",
    "c2vl.skeletons.augmentation:augment",
    settings="c2vl.skeletons.augmentation_settings:GeometricSettings",
    help="temporal crop, mirror, scale, rotation, shear, noise, masked joints",
)
