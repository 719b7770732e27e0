"""Skeletons: joint layouts, datasets, the prepared store, preprocessing, streams, augmentation.

``layout`` needs the standard library alone, ``preprocess`` NumPy and ``streams`` torch, so that an
exported encoder runs without the rest.
"""
