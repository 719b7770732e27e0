"""What the names of recordings say: class, subject, camera, take. Guesses, for a user to check.

Three habits are known: codes (``a08_s01_e02``, ``S001C002P003R001A010``, ``sub2/act3/1``), a folder
a class (``wave/03.npy``), and words (``walk_happy_002.bvh``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

_CODE = re.compile(r"(?<![A-Za-z])([A-Za-z]{1,8}?)[_-]?(\d{1,6})(?![\d.])")
_RUN_ON = re.compile(r"([A-Z])(\d{2,4})")  # S001C002P003R001A010
_MEANINGS = {
    "label": ("a", "act", "action", "activity", "class", "g", "gesture"),
    "subject": ("p", "person", "performer", "s", "sub", "subj", "subject", "actor", "user", "u"),
    "camera": ("c", "cam", "camera", "v", "view"),
    "replication": ("t", "trial", "e", "r", "rep", "take", "i"),
}


@dataclass(frozen=True)
class Columns:
    """What was taken from the names.

    Attributes:
        values: column of ``sequences.csv`` → word of each recording; for all of them or none.
        why: how each column was read, in words.
    """

    values: dict[str, list[str]]
    why: dict[str, str]


def read_names(names: list[str]) -> Columns:
    """Guess columns from the names of recordings.

    Args:
        names: paths below the folder, without suffix.

    Returns:
        ``label`` and, as far as names say them, ``subject``, ``camera``, ``setup``,
        ``replication``.
    """
    values: dict[str, list[str]] = {}
    why: dict[str, str] = {}
    codes = [_codes(name) for name in names]
    shared = set.intersection(*(set(code) for code in codes)) if codes else set()
    for column, letters in _MEANINGS.items():
        letter = next((letter for letter in letters if letter in shared), None)
        found = [code[letter] for code in codes] if letter else []
        if len(set(found)) > 1 or (column == "subject" and found):
            values[column] = [str(int(number)) for number in found]
            why[column] = f'the number after "{letter}" in the name'
            if column == "label":
                values[column] = [f"{letter}{number}" for number in found]
    if "subject" in values and {"s", "p"} <= shared:  # NTU's names: S is the set-up
        values["setup"] = [str(int(code["s"])) for code in codes]
        why["setup"] = 'the number after "s" in the name'
    if "label" not in values:
        folders = [PurePosixPath(name).parent.name for name in names]
        if 1 < len(set(folders)) < len(names):
            values["label"], why["label"] = folders, "the file's folder"
        else:
            _from_words(names, values, why)
    last = [re.search(r"(\d{1,6})$", name) for name in names]
    if "replication" not in values and all(last):
        values["replication"] = [str(int(match[1])) for match in last if match]
        why["replication"] = "the number at the end of the name"
    return Columns(values, why)


def _codes(name: str) -> dict[str, str]:
    """Return letters → number; what the file's own name says goes before its folders."""
    found: dict[str, str] = {}
    for part in reversed(PurePosixPath(name).parts):
        matches = _RUN_ON.findall(part) if re.fullmatch(r"(?:[A-Z]\d{2,4}){3,}", part) else []
        for letter, number in matches or _CODE.findall(part):
            found.setdefault(letter.lower(), number)
    return found


def _from_words(names: list[str], values: dict[str, list[str]], why: dict[str, str]) -> None:
    """Take the first word that is like a class (several values, each repeated), and the next.

    Who or how ("anna", "happy") a second one says nobody knows; it groups recordings either way.
    """
    split = [re.split(r"[_ .]+", PurePosixPath(name).name) for name in names]
    if len({len(words) for words in split}) != 1:
        return
    for place, words in enumerate(zip(*split, strict=True), start=1):
        kinds = sorted(set(words))
        if not 1 < len(kinds) <= len(words) / 2 or any(word.isdigit() for word in kinds):
            continue
        if "label" not in values:
            values["label"], why["label"] = list(words), f"word {place} of the name"
        elif not {"subject", "setup"} & set(values):
            values["setup"] = [str(kinds.index(word) + 1) for word in words]
            shown = ", ".join(f"{word} {number}" for number, word in enumerate(kinds[:8], start=1))
            more = ", …" if len(kinds) > 8 else ""
            why["setup"] = (
                f"word {place} of the name ({shown}{more}); if it says who, call the column subject"
            )
