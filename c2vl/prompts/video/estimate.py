"""Hours for the prompts of a whole dataset, from measured or assumed rates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from c2vl.support.errors import UserError


@dataclass(frozen=True)
class Rates:
    """Prompts a second of one unit.

    Attributes:
        crops: frames decoded and cropped by one CPU core (or one GPU with a detector).
        captions: answers of one GPU (or of what the run had).
        assumed: names of the rates that were given and not measured.
    """

    crops: float
    captions: float
    assumed: tuple[str, ...] = ()


def measured(run: Path, *, crops: float | None = None, captions: float | None = None) -> Rates:
    """Read the rates that a run measured; given ones replace them.

    Raises:
        UserError: the run has measured nothing and a rate is not given.
    """
    try:
        found = json.loads((run / "rates.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = {"pictures": 0, "captions": 0, "crop_seconds": 0, "answer_seconds": 0}
    except (OSError, ValueError) as error:
        raise UserError(f"{run}/rates.json: cannot be read ({error})") from None
    rates = {name: given for name, given in (("crops", crops), ("captions", captions)) if given}
    assumed = tuple(rates)
    for name, work, seconds in (
        ("crops", "pictures", "crop_seconds"),
        ("captions", "captions", "answer_seconds"),
    ):
        if name not in rates and not (found[work] and found[seconds]):
            raise UserError(
                f"{run}: its last run measured no {name}; give --{name}-per-second, or run "
                "`c2vl prompts video` on some videos first"
            )
        rates.setdefault(name, found[work] / (found[seconds] or 1))
    return Rates(**rates, assumed=assumed)


def hours(rates: Rates, sequences: int, prompts: int, *, gpus: int, cpus: int) -> dict[str, float]:
    """Return the hours of each stage, and of all, since the stages overlap.

    Args:
        prompts: frames of each.
        gpus: units that caption.
        cpus: units that crop.
    """
    pictures = sequences * prompts
    stages = {
        "crops": pictures / rates.crops / cpus / 3600,
        "captions": pictures / rates.captions / gpus / 3600,
    }
    return stages | {"all": max(stages.values())}
