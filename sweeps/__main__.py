"""``python -m sweeps`` is the command ``c2vl-sweep``."""

from sweeps.commands.main import main

main()
