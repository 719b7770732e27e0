"""How an encoder is judged: kNN, linear probes, supervised baselines, figures of the space."""
