"""How long prompts of a whole dataset take, from rates that a run measured or that are assumed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from c2vl.support.errors import UserError


@dataclass(frozen=True)
class Rates:
    """Work a second of one unit.

    Attributes:
        crops: pictures decoded, found and cut, by one CPU core (or one GPU with a detector).
        captions: answers, by one GPU (or whatever the run had).
        assumed: names of the rates that were given and not measured.
    """

    crops: float
    captions: float
    assumed: tuple[str, ...] = ()


def measured(run: Path, *, crops: float | None = None, captions: float | None = None) -> Rates:
    """Read the rates of a run; given ones take their place.

    Raises:
        UserError: the run has measured nothing and a rate is not given.
    """
    try:
        found = json.loads((run / "rates.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = {"pictures": 0, "captions": 0, "crop_seconds": 0, "answer_seconds": 0}
    except (OSError, ValueError) as error:
        raise UserError(f"{run}/rates.json: cannot be read ({error})") from None
    assumed = []
    rates = {}
    for name, given, work, seconds in (
        ("crops", crops, found["pictures"], found["crop_seconds"]),
        ("captions", captions, found["captions"], found["answer_seconds"]),
    ):
        if given is not None:
            assumed.append(name)
            rates[name] = given
        elif work and seconds:
            rates[name] = work / seconds
        else:
            raise UserError(
                f"{run}: its last run measured no {name}; give --{name}-per-second, or run "
                "`c2vl prompts video` on some videos first"
            )
    return Rates(**rates, assumed=tuple(assumed))


def hours(rates: Rates, sequences: int, prompts: int, *, gpus: int, cpus: int) -> dict[str, float]:
    """Return the hours of each stage, and of the whole, where the stages overlap.

    Args:
        rates: of one unit.
        sequences: videos.
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
