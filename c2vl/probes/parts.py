"""Our label-free scores, by their names."""

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
