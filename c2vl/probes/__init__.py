"""Readings of frozen features that validation and protocols share.

Scores that need no label are registered here. Validation computes every registered one: a function
of features (n, F) that returns a number::

    def spread(features: NDArray[np.float32]) -> float:
        return float(features.std())

    register("label_free_score", "spread", spread)
"""

from c2vl.registry import register

register(
    "label_free_score",
    "uniformity",
    "c2vl.probes.feature_space:uniformity_of_features",
    help="Log of the mean Gaussian potential of features on the sphere.",
)
register(
    "label_free_score",
    "rankme",
    "c2vl.probes.feature_space:rankme",
    help="Effective rank of the features.",
)
