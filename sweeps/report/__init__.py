"""What a sweep found, as files: a page, a table, a summary, a picture.

Everything is read from the sweep's folder and its study, so that a report can be written at any
time, of a sweep that is finished or not.
"""
