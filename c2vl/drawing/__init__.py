"""Pictures of layouts and sequences: figures, GIFs, and pages that play them."""
