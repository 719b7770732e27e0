"""The demo set: generated motion capture in the layout of NTU RGB+D, with known classes."""
