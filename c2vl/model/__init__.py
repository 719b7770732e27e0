"""The skeleton encoder and its heads into the concept space."""
