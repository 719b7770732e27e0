"""``python -m c2vl`` is the command ``c2vl``."""

from c2vl.cli import main

main()
