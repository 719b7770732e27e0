"""The console command ``c2vl``: modules of sub-commands that parse and call; imports are lazy."""
