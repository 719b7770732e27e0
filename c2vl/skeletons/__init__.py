"""Skeletons: joint layouts, datasets, the prepared store, preprocessing, streams, augmentation.

``layout`` needs the standard library alone, ``preprocess`` NumPy and ``streams`` torch, so that an
exported encoder runs without the rest.
"""

from c2vl.registry import register

register(
    "augmentation",
    "geometric",
    "c2vl.skeletons.augmentation:augment",
    settings="c2vl.skeletons.augmentation_settings:GeometricSettings",
    help="temporal crop, mirror, scale, rotation, shear, noise, masked joints",
)
