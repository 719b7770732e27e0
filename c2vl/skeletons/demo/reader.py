"""The demo set as a dataset: files in NTU RGB+D's format with classes of its own."""

from __future__ import annotations

from c2vl.skeletons.datasets.ntu import ntu_reader
from c2vl.skeletons.demo.motions import CLASS_NAMES

DEMO = ntu_reader("demo (generated)", CLASS_NAMES, "demo_xsub")
