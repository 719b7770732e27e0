"""``python -m cluster`` is the command ``c2vl-cluster``."""

from cluster.cli import main

main()
