"""Where sweeps run: a local cluster of node processes, submission, checks beforehand."""
