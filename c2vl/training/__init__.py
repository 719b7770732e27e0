"""One worker's training loop in plain torch, and its launch with Ray Train."""
