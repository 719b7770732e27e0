"""Captions that rules write from the motion alone."""
