"""Cross-entropy with the labels: the reference that C²VL is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import Tensor, nn
from torch.nn import functional

from c2vl.objective.base import Batch, Objective, Sizes, Step
from c2vl.objective.settings import SupervisedSettings

if TYPE_CHECKING:
    from c2vl.config.experiment import Experiment


class Supervised(Objective):
    """A linear classifier on the features, trained with the backbone."""

    def __init__(self, experiment: Experiment, sizes: Sizes) -> None:
        super().__init__(experiment, sizes)
        self.smoothing = cast(SupervisedSettings, experiment.objective).label_smoothing
        self.heads = nn.Linear(sizes.feature, sizes.classes)

    def loss(
        self, features_nF: Tensor, batch: Batch, step: Step
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy with smoothed labels, the mean over this worker's rows."""
        scores = self.heads(features_nF)
        loss = functional.cross_entropy(scores, batch.labels, label_smoothing=self.smoothing)
        return loss, {}
