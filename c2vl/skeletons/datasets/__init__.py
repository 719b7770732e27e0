"""Readers by name; to add a dataset, write its module and list its ``Reader`` here."""

from __future__ import annotations

from c2vl.skeletons.datasets.arrays import ARRAYS
from c2vl.skeletons.datasets.base import (
    Found,
    Item,
    Options,
    Reader,
    Rejected,
    RejectedError,
    read_item,
)
from c2vl.skeletons.datasets.folder import FOLDER
from c2vl.skeletons.datasets.ntu import DEMO, NTU60, NTU120
from c2vl.skeletons.datasets.nw_ucla import NW_UCLA
from c2vl.skeletons.datasets.pkummd import PKUMMD1, PKUMMD2
from c2vl.skeletons.datasets.utd_mhad import UTD_MHAD
from c2vl.support.errors import UserError, did_you_mean

__all__ = [
    "READERS",
    "Found",
    "Item",
    "Options",
    "Reader",
    "Rejected",
    "RejectedError",
    "get_reader",
    "read_item",
]

READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (NTU60, NTU120, PKUMMD1, PKUMMD2, UTD_MHAD, NW_UCLA, ARRAYS, FOLDER, DEMO)
}


def get_reader(name: str) -> Reader:
    """Return a dataset's reader.

    Raises:
        UserError: no dataset has this name.
    """
    if name not in READERS:
        raise UserError(f'dataset "{name}" has no reader{did_you_mean(name, READERS)}')
    return READERS[name]
