"""Concept features as training reads them: on the disk until they are drawn, then normalised.

Shapes: N training sequences, n of them drawn, P prompts a sequence, D feature size.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from c2vl.prompts.table import CHUNK, ConceptTable
from c2vl.skeletons.cache import Cache
from c2vl.support.errors import UserError
from c2vl.training.resident import sent

_WORTH_A_FILE = 64 << 20
"""Bytes of features; statistics of fewer are computed faster than a cache is asked for them."""


@dataclass(frozen=True)
class Normalisation:
    """The affine map that concepts pass before they are scaled to unit length.

    Attributes:
        centre: (D,) float64, subtracted first.
        matrix: (D, D) float64, multiplied from the right, or None.
    """

    centre: Tensor
    matrix: Tensor | None = None

    def apply(self, rows_nD: Tensor) -> Tensor:
        """Return normalised rows (n, D), float32."""
        if self.matrix is None:
            return rows_nD - self.centre.float()
        mapped: Tensor = ((rows_nD.double() - self.centre) @ self.matrix).float()
        return mapped

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return weight (D, D) and bias (D,) of the map, float32."""
        matrix = torch.eye(len(self.centre)).double() if self.matrix is None else self.matrix
        return matrix.t().float().contiguous(), -(self.centre @ matrix).float()


class ConceptRows:
    """The concept features of some sequences, of one modality.

    They stay in the table, which is memory-mapped: the processes of a node share its pages, and
    the system drops those that it needs. :meth:`draw` reads the rows of a batch and normalises
    their mean, which is the mean of normalised prompts, since a normalisation is affine.

    Attributes:
        table: what they are read from.
        places: (N,) rows of the table; -1 where it has none.
        normalisation: what drawn rows pass.
    """

    def __init__(
        self, table: ConceptTable, places: NDArray[np.int64], normalisation: Normalisation
    ) -> None:
        self.table, self.places, self.normalisation = table, places, normalisation
        self._resident: Tensor | None = None  # (N, P, D) on a device, as in the table
        self._there = normalisation

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, P, D)."""
        return (len(self.places), self.table.prompts_per_sample, self.table.dim)

    @property
    def nbytes(self) -> int:
        """Bytes of the features of all N."""
        return int(len(self.places) * self.table.features[0].nbytes)

    def move(self, device: torch.device) -> None:
        """Keep all features on a device, where rows are drawn and normalised from now on."""
        shape, dtype = self.shape, self._read(np.arange(1)).dtype
        self._resident = torch.empty(shape, dtype=dtype, device=device)
        for start in range(0, len(self.places), CHUNK):
            part = np.arange(start, min(start + CHUNK, len(self.places)))
            self._resident[start : start + len(part)] = self._read(part)
        matrix = self.normalisation.matrix
        self._there = Normalisation(
            self.normalisation.centre.to(device), None if matrix is None else matrix.to(device)
        )

    def _read(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.table.features[self.places[rows]])

    def draw(self, rows: Tensor, keep: int, draw: torch.Generator) -> Tensor:
        """Return the mean of ``keep`` prompts of some rows, normalised, at unit length.

        Args:
            rows: (n,) of the N.
            keep: prompts of each, drawn where there are more; 0: all.
            draw: decides which.

        Returns:
            (n, D) float32; zero where the table has no row.
        """
        places = self.places[rows.numpy()]
        prompts = self.table.prompts_per_sample
        chosen = None
        if 0 < keep < prompts:
            chosen = torch.rand(len(rows), prompts, generator=draw).argsort(1)[:, :keep]
        if self._resident is not None:
            device = self._resident.device
            found = self._resident.index_select(0, sent(rows, device))
            if chosen is not None:
                at = sent(chosen, device)[..., None].expand(-1, -1, found.shape[2])
                found = found.gather(1, at)
        elif chosen is not None:
            found = torch.from_numpy(self.table.features[places[:, None], chosen.numpy()])
        else:
            found = torch.from_numpy(self.table.features[places])
        unit_nD = functional.normalize(self._there.apply(found.float().mean(1)), dim=1)
        absent = places < 0
        if absent.any():
            unit_nD = unit_nD * sent(torch.from_numpy(~absent), unit_nD.device)[:, None]
        return unit_nD

    def means(self, rows: Tensor) -> Tensor:
        """Return the mean of all prompts of some rows, normalised, at unit length, (n, D)."""
        return torch.cat([self.draw(part, 0, _NO_DRAW) for part in rows.split(CHUNK)])


_NO_DRAW = torch.Generator()  # asked for nothing where all prompts are kept


def normalisation(
    table: ConceptTable, places: NDArray[np.int64], how: str, cache: Cache
) -> Normalisation:
    """Return how concepts are normalised: over the mean prompts of some sequences.

    The statistics of a large table are cached by its content and the sequences, so that the
    trials of a sweep compute them once.

    Args:
        table: the features.
        places: (n,) rows of the table that the statistics come from.
        how: "none"; "centre" subtracts the mean (sentence encoders give all captions of one kind a
            large common component); "whiten" also scales the principal directions to equal
            variance, with a floor of a hundredth of the largest.
        cache: where the statistics of a large table are kept.

    Raises:
        UserError: all prompts are the same.
    """
    if how == "none":
        return Normalisation(torch.zeros(table.dim).double())
    if len(places) * table.features[0].nbytes < _WORTH_A_FILE:
        return _statistics(table, places, how)
    sequences = hashlib.sha256(np.ascontiguousarray(places).tobytes()).hexdigest()
    about = {"table": table.digest, "sequences": sequences, "normalise": how, "version": 1}

    def make(folder: Path) -> None:
        found = _statistics(table, places, how)
        np.save(folder / "centre.npy", found.centre.numpy())
        if found.matrix is not None:
            np.save(folder / "matrix.npy", found.matrix.numpy())

    def read(folder: Path) -> Normalisation:
        names = ("centre", "matrix") if how == "whiten" else ("centre",)
        parts = [np.load(folder / f"{name}.npy", allow_pickle=False) for name in names]
        return Normalisation(*(torch.from_numpy(part) for part in parts))

    return cache.get("statistics", about, make, read)


def _statistics(table: ConceptTable, places: NDArray[np.int64], how: str) -> Normalisation:
    """Compute the mean, and for "whiten" the covariance, of mean prompts, reading in blocks."""
    blocks = [places[start : start + CHUNK] for start in range(0, len(places), CHUNK)]
    # Second moments about a point close to the mean lose no digits.
    near = _mean_prompts(table, blocks[0]).mean(0)
    total, moments = torch.zeros_like(near), near.new_zeros(table.dim, table.dim)
    furthest = 0.0
    for block in blocks:
        apart_nD = _mean_prompts(table, block) - near
        furthest = max(furthest, float(apart_nD.abs().max()))
        total = total + apart_nD.sum(0)
        if how == "whiten":
            moments = moments + apart_nD.t() @ apart_nD
    if furthest <= 1e-9 * float(near.abs().max()):  # rounding of a mean of equal rows
        raise UserError(
            f"{table.path}: all {len(places)} sequences to pretrain on have the same prompts, and "
            f"prompts.normalise={how} leaves nothing of them; look at them with `c2vl prompts "
            "inspect`"
        )
    rest = total / len(places)
    centre = near + rest
    if how == "centre":
        return Normalisation(centre)
    covariance = (moments - len(places) * torch.outer(rest, rest)) / (len(places) - 1)
    values, directions = torch.linalg.eigh(covariance)
    scale = values.clamp_min(values[-1] * 1e-2).rsqrt()
    # Signs and rotations of eigenvectors differ between libraries; rotating back (ZCA) undoes them.
    return Normalisation(centre, directions * scale @ directions.t())


def _mean_prompts(table: ConceptTable, places: NDArray[np.int64]) -> Tensor:
    """Return the mean prompts of rows of a table, (n, D) float64."""
    return torch.from_numpy(table.features[places]).float().mean(1).double()
