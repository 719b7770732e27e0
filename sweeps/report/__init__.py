"""What a sweep found, as files: a page, a table, a summary, a picture.

Everything is read from the sweep's folder and its study, so that a report can be written at any
time, of a sweep that is finished or not.
"""

from sweeps.report.winner import winning_overrides
from sweeps.report.write import write_report

__all__ = ["winning_overrides", "write_report"]
