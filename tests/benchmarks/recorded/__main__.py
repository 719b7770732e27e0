"""The command; see the package."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks.recorded import record

*folders, target = map(Path, sys.argv[1:])
print(record([folder.absolute() for folder in folders], target).describe().to_string())
