"""MLflow: runs, their delivery, reconciliation, the model registry."""
