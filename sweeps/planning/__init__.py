"""Checks and estimates before a sweep runs: validation, nodes, resources, cost."""
