"""``python -m c2vl`` is the command ``c2vl``."""

from c2vl.commands.main import main

main()
