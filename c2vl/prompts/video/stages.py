"""Work on items in stages: in this process, or on Ray Data with actors that hold models."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from c2vl.support.cpus import usable_cpus
from c2vl.support.errors import UserError
from c2vl.support.ray_session import connected


@dataclass(frozen=True)
class Stage:
    """One step of the work.

    Attributes:
        work: item → result. Ray pickles it to each actor once, so a model that it loads at its
            first call stays there.
        actors: how many do it on Ray.
    """

    name: str
    work: Callable[[Any], Any]
    actors: int = 1
    gpus: float = 0.0


def run_stages(
    items: Sequence[Any], stages: Sequence[Stage], *, on_ray: bool
) -> Iterator[list[Any]]:
    """Take every item through all stages; yields each item's results, one a stage.

    Args:
        on_ray: on the cluster that ``RAY_ADDRESS`` names, or on a Ray that is started here for as
            long; Ray Data replaces a lost actor and gives its item to another.

    Raises:
        UserError: a stage raised it.
    """
    if not on_ray:
        for item in items:
            yield [stage.work(item) for stage in stages]
        return
    if not items:
        return
    import ray.data

    # Ray started here lets all actors run at once, on however few cores.
    cores = max(usable_cpus(), sum(stage.actors for stage in stages))
    with connected(
        starting={"num_cpus": cores, "include_dashboard": False},
        log_to_driver=False,
        logging_level=logging.WARNING,
    ):
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows: Any = ray.data.from_items(
            [{"item": item, "results": [], "mistake": ""} for item in items],
            override_num_blocks=len(items),
        )
        for stage in stages:
            rows = rows.map(
                type(stage.name, (_Actor,), {}),
                fn_constructor_args=(stage.work,),
                concurrency=stage.actors,
                num_gpus=stage.gpus or None,
            )
        for row in rows.iter_rows():
            if row["mistake"]:
                raise UserError(row["mistake"])
            yield row["results"]


class _Actor:
    """A stage on Ray Data. A UserError travels as a row, since Ray would wrap it in tracebacks."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["mistake"]:
            return row
        try:
            return row | {"results": [*row["results"], self.work(row["item"])]}
        except UserError as mistake:
            return row | {"mistake": str(mistake)}
