"""The linear probe over a group of workers, each with a share of the rows.

The convex probe takes the steps of Newton's method that one process takes: value, gradient and
curvature are sums over rows, and sums go around. SGD adds up the gradient of each batch. Both are
those of one process but for rounding, so that the number of workers is no part of a result.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from c2vl.protocols.linear import (
    STRENGTHS,
    Floats,
    Floats64,
    Ints,
    Judged,
    Logistic,
    Probe,
    judge,
)
from c2vl.protocols.supervised import scratch_folder
from c2vl.protocols.task import Round
from c2vl.protocols.workers import Machines, Share, run_job
from c2vl.support.errors import UserError
from c2vl.support.files import replacing
from c2vl.support.progress import progress, silent

RESULT = "judged.npz"


class SharedLogistic(Logistic):
    """This worker's rows of a problem, whose value, gradient and curvature are of all rows."""

    def __init__(
        self, rows: Tensor, target: Tensor, penalty: Tensor, start: Tensor, share: Share, count: int
    ) -> None:
        super().__init__(rows, target, penalty, start)
        self._share, self._part = share, len(rows) / count
        curvature = share.total(self._part * self.step.pow(-2))
        self.step = curvature.rsqrt()

    def loss(self, at: Floats64) -> tuple[float, Floats64]:
        """As :meth:`Logistic.loss`, over the rows of all workers."""
        value, gradient = super().loss(at)
        both = self._mean(np.append(value, gradient))
        return float(both[0]), both[1:]

    def curved(self, at: Floats64, along: Floats64) -> Floats64:
        """As :meth:`Logistic.curved`, over the rows of all workers."""
        return self._mean(super().curved(at, along))

    def _mean(self, values: Floats64) -> Floats64:
        total = self._share.total(torch.from_numpy(self._part * values))
        return total.numpy()


class SharedPath:
    """Fits probes as :func:`c2vl.protocols.linear.fit_path` does, together with other workers.

    Args:
        share: this worker's.
    """

    def __init__(self, share: Share) -> None:
        self._share = share

    def __call__(
        self,
        features: Floats,
        labels: Ints,
        *,
        classes: int,
        strengths: tuple[float, ...] = STRENGTHS,
    ) -> Iterator[Probe]:
        """Fit a probe for each strength; all workers call this with all rows, and use their own."""
        share, count = self._share, len(features)
        if count < share.world:
            raise UserError(
                f"--workers {share.world}: {count} sequences are fitted; give no more workers"
            )
        x = torch.from_numpy(share.own(features)).double()
        mean = share.total(x.sum(0)) / count
        squares = share.total((x - mean).square().sum(0))
        scale = (squares / (count - 1)).sqrt().clamp_min(1e-6)
        x = (x - mean) / scale
        right = torch.linalg.eigh(share.total(x.T @ x)).eigenvectors.contiguous()
        if share.world > 1:
            dist.broadcast(right, 0)  # the sign of an axis is anybody's choice
        axes = torch.cat([x @ right, x.new_ones(len(x), 1)], 1)  # the bias is the last axis
        target = functional.one_hot(torch.from_numpy(share.own(labels)), classes).double()
        weight = x.new_zeros(axes.shape[1], classes)
        for strength in strengths:
            penalty = x.new_full((axes.shape[1], 1), strength / x.shape[1])
            penalty[-1] = 0
            weight = SharedLogistic(axes, target, penalty, weight, share, count).optimum()
            yield Probe(mean, scale, (right @ weight[:-1]).T.contiguous(), weight[-1], strength)


def judge_together(
    rows: Floats,
    labels: Ints,
    rounds: Sequence[Round],
    *,
    classes: int,
    seed: int,
    tested: bool,
    work: Path,
    machines: Machines,
) -> Judged:
    """As :func:`c2vl.protocols.linear.judge`, with Ray Train.

    Args:
        rows, labels, rounds, classes, seed, tested: see there.
        work: folder for the job, on storage that all workers reach.
        machines: how many workers; they need no GPU, and get none.
    """
    with scratch_folder(work, "linear") as scratch:
        if not (scratch / RESULT).exists():
            arrays: dict[str, Any] = {"rows": rows, "labels": labels}
            for place, one in enumerate(rounds):
                for field in dataclasses.fields(Round):
                    arrays[f"{field.name}-{place}"] = getattr(one, field.name)
            with replacing(scratch / "rows.npz") as file:
                np.savez(file, **arrays)
            job = {"classes": classes, "seed": seed, "tested": tested}
            (scratch / "job.json").write_text(json.dumps(job), encoding="utf-8")
            run_job(judge_share, scratch, Machines(machines.workers))
        found = np.load(scratch / RESULT)
        each = {
            name: [found[f"{name}-{place}"] for place in range(len(rounds))]
            for name in ("convex", "last", "best")
        }
        return Judged(**each, chosen=json.loads(str(found["chosen"])))


def judge_share(folder: Path, share: Share, _: torch.device) -> None:
    """Do a job of :func:`judge_together` as one of its workers; the first writes the result."""
    arrays = np.load(folder / "rows.npz")
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    places = sum(name.startswith("fit-") for name in arrays)
    names = [field.name for field in dataclasses.fields(Round)]
    rounds = [Round(*(arrays[f"{name}-{place}"] for name in names)) for place in range(places)]
    with progress("probes") if share.rank == 0 else nullcontext(silent) as shown:
        found = judge(
            *(arrays["rows"], arrays["labels"], rounds),
            **job,
            path=SharedPath(share),
            share=share,
            told=shown,
        )
    if share.rank == 0:
        results: dict[str, Any] = {"chosen": np.array(json.dumps(found.chosen))}
        for name in ("convex", "last", "best"):
            for place, hits in enumerate(getattr(found, name)):
                results[f"{name}-{place}"] = hits
        with replacing(folder / RESULT) as file:
            np.savez(file, **results)
