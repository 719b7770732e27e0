"""Optuna: samplers, pruners, the study and its storage."""
