"""The skeleton side: layouts, readers, the prepared store, preprocessing, streams, augmentation.

``layout`` and ``preprocess`` need NumPy alone, ``streams`` and ``augment`` torch alone, so that an
exported encoder runs without the rest.
"""
