"""What every room stands on: errors, atomic files, YAML, progress, the connection to Ray."""
