"""Looks at a folder of somebody's recordings and writes the files to start from (`data init`)."""
