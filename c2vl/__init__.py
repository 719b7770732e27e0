"""C²VL: one experiment, from skeletons and prompts to a trained skeleton encoder."""
