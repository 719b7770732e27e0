"""What is looked at before a sweep runs: validation, nodes, resources, cost."""
