"""Readings of frozen features that validation and protocols share.

Validation computes every registered score that needs no label: a function of features (n, F) that
returns a number::

    def spread(features: NDArray[np.float32]) -> float:
        return float(features.std())

    register("label_free_score", "spread", spread)
"""
