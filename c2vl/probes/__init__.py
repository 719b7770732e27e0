"""Readings of frozen features that validation and protocols share."""
