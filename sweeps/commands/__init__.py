"""The sub-commands of ``c2vl-sweep``: each parses, calls and prints; heavy imports are lazy."""
