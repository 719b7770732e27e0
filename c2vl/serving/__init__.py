"""Using an encoder: a fitted classifier, a nearest-neighbour index, and both over HTTP."""
