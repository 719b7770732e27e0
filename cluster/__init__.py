"""Where sweeps run: a local cluster of several node processes, submission, and checks beforehand."""
