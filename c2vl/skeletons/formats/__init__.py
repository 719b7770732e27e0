"""File formats below the datasets, read without trust: every length is checked.

Unless it says otherwise, a function here raises :class:`.RejectedError` for content that is damaged
or of another kind, and ``OSError`` for a file that is gone, encrypted or larger than its limit.
"""
