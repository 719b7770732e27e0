"""Training one encoder: the loop, its launch with Ray Train, and the optimizers."""
