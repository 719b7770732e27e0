"""Backbones: networks that encode a skeleton sequence."""
