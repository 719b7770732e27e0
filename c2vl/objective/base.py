"""What an objective is: a module that owns its heads and turns features into a loss.

Shapes: n sequences of this worker, N of all workers, M body slots, T frames, V joints, F features,
D concept dimension, t steps in time of a feature map.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from c2vl.model.base import body_slots

if TYPE_CHECKING:
    from c2vl.config.experiment import Experiment


@dataclass(frozen=True)
class Batch:
    """What one step of one worker sees.

    Attributes:
        x: (n, M, T, V, 3) augmented joints of the wanted stream.
        present: (n, M) bool.
        concepts: modality → (n, D) unit rows.
        labels: (n,) classes, for objectives that use labels.
        has: modality → (n,) bool, which rows have concepts (their rows are zero where they have
            none); a modality that is not named has all of them.
        views: the same clips augmented anew, as ``ObjectiveSettings.views`` asks for. The averaged
            model sees the first, the student ``x`` and the others.
        mask: (n, M, t, V) bool, the places of the feature map that :meth:`Objective.seen` hid;
            empty where it hid none.
        rows: (n,) which of the sequences that pretraining sees; empty where nobody says.
        slots: for each part in which the rows are encoded, the (B,) numbers of its present bodies
            (:func:`c2vl.model.base.body_slots`); empty until :meth:`to` has been called.
    """

    x: Tensor
    present: Tensor
    concepts: Mapping[str, Tensor]
    labels: Tensor
    has: Mapping[str, Tensor] = field(default_factory=dict)
    slots: tuple[Tensor, ...] = ()
    views: tuple[Tensor, ...] = ()
    rows: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    mask: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool))

    def to(self, device: torch.device, parts: int = 1) -> Batch:
        """Return a copy on a device; what goes to a GPU passes pinned memory.

        Args:
            device: where to.
            parts: in which the rows will be encoded (see :meth:`parts`).
        """
        parts = min(parts, len(self.present))  # a small set is a batch of few rows
        slots = [body_slots(present_nM) for present_nM in self.present.tensor_split(parts)]

        def there(value: Tensor) -> Tensor:
            if device.type == "cuda" and not value.is_cuda:
                value = value.pin_memory()
            return value.to(device, non_blocking=True)

        return Batch(
            there(self.x),
            there(self.present),
            {name: there(rows) for name, rows in self.concepts.items()},
            there(self.labels),
            {name: there(rows) for name, rows in self.has.items()},
            tuple(there(numbers) for numbers in slots),
            tuple(there(view) for view in self.views),
            there(self.rows),
        )

    def record_stream(self, queue: torch.cuda.Stream) -> None:
        """Keep its memory until the work that a queue of a GPU holds by now is done."""
        tensors = [self.x, self.present, self.labels, self.rows, *self.slots, *self.views]
        for value in (*tensors, *self.concepts.values(), *self.has.values()):
            value.record_stream(queue)

    @property
    def of_student(self) -> tuple[Tensor, ...]:
        """The views that the student encodes."""
        return (self.x, *self.views[1:])

    def of_teacher(self) -> Batch:
        """Return the batch as the averaged model sees it."""
        return replace(self, x=self.views[0], views=()) if self.views else self

    def parts(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield joints, presence and slots of each part, view after view of the student's."""
        count = len(self.slots)
        for x in self.of_student:
            yield from zip(
                x.tensor_split(count), self.present.tensor_split(count), self.slots, strict=True
            )


@dataclass(frozen=True)
class Sizes:
    """Sizes of what an objective's heads connect.

    Attributes:
        feature: F, of the backbone.
        concepts: modality → D, of the tables that the objective reads.
        classes: of the store.
        sequences: that pretraining sees; 0 where nobody says.
        places: t and V of the feature map, for an objective that reads it.
    """

    feature: int
    concepts: Mapping[str, int]
    classes: int
    sequences: int
    places: tuple[int, int] = (0, 0)


class Step(NamedTuple):
    """The position of training when a loss is computed.

    Attributes:
        progress: share of training that is done, 0..1.
        teacher: the averaged objective and its features (n, F) of the same batch, for objectives
            that ask for them by ``uses_average``; None where no average is kept.
    """

    progress: float
    teacher: tuple[Objective, Tensor] | None = None


class ConceptMap(NamedTuple):
    """The affine maps by which a trained objective compares features with concepts.

    Attributes:
        weight: (D', F), applied to features.
        bias: (D',), added to mapped features.
        adapter: (D', D), applied to concepts; None leaves concepts as they are.
    """

    weight: Tensor
    bias: Tensor
    adapter: Tensor | None


class Objective(nn.Module, ABC):
    """Base of all objectives; only :meth:`loss` must be written.

    ``__init__(self, experiment, sizes)`` makes the heads, after the backbone, from the seed of the
    experiment; settings of its own are ``experiment.objective``. All its parameters are trained and
    checkpointed, and dropped when the encoder is exported.

    Attributes:
        uses_average: whether :meth:`loss` reads ``step.teacher``. The average is kept where
            ``train.ema`` is 0 too, then with :attr:`decay`.
        decay: of the average where ``train.ema`` is 0.
        average_trains: whether the average encodes by the statistics of the batch, as in training.
        uses_maps: whether :meth:`loss` gets feature maps (n, M, t, V, F), zero for absent bodies,
            in place of features; its settings refuse a backbone that has none.
    """

    uses_average = False
    uses_maps: ClassVar[bool] = False
    decay = 0.999
    average_trains = False

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__()

    def seen(self, batch: Batch) -> Batch:
        """Return the batch as the student encodes it and :meth:`loss` gets it.

        An objective that hides something returns another batch, with the whole joints as the view
        that the student does not see.
        """
        return batch

    @abstractmethod
    def loss(
        self, features_nF: Tensor, batch: Batch, step: Step
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, a scalar, and its named parts.

        Of more than one view the features stand below each other, (views·n, F), x first.

        With several workers the gradients are averaged over them: a mean over this worker's rows
        needs nothing more; what compares rows with each other takes all workers' rows by
        :func:`c2vl.objective.gather.gather`.
        """

    def figures(self, progress: float) -> dict[str, float]:
        """Return further figures of an epoch, by name, in addition to the losses."""
        return {}

    def validation_figures(
        self, features_NF: Tensor, concepts: Mapping[str, Tensor], has: Mapping[str, Tensor]
    ) -> dict[str, float]:
        """Return figures of the whole training part, computed in evaluation mode.

        Args:
            features_NF: (N, F) features of the backbone.
            concepts: modality → (N, D) unit rows, the mean of all prompts.
            has: modality → (N,) bool, as in :class:`Batch`.
        """
        return {}

    def after_step(self) -> None:
        """Adjust parameters; the learner calls this without gradient after each optimizer step."""

    def concept_maps(self) -> dict[str, ConceptMap]:
        """Return the maps by modality, for zero-shot with the exported encoder."""
        return {}
