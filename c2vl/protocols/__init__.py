"""Scores of a frozen encoder, by every protocol that the papers report."""
