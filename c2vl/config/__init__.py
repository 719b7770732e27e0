"""One experiment as typed settings, and how they are read from YAML and command lines."""
