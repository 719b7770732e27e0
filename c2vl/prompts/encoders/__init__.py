"""Frozen text and image encoders, and the cache of their features."""
