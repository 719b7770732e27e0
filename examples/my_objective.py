"""An objective: the features tell how fast and how far joints move. It reads no label."""

from pydantic import Field
from torch import nn
from torch.nn.functional import smooth_l1_loss

from c2vl.config.experiment import ObjectiveSettings
from c2vl.objective.base import Objective
from c2vl.registry import register
from c2vl.training.figures import Figure, add


class MotionSettings(ObjectiveSettings):
    """Regression of speed and reach."""

    reach: float = Field(1.0, ge=0, description="weight of the reach beside the speed")


class Motion(Objective):
    def __init__(self, experiment, sizes):
        super().__init__(experiment, sizes)
        self.reach = experiment.objective.reach
        self.heads = nn.Linear(sizes.feature, 6)

    def loss(self, features_nF, batch, step):
        x_nMTVC = batch.x
        speed = x_nMTVC.diff(dim=2).abs().mean((1, 2, 3))  # (n, 3), by axis
        reach = (x_nMTVC.amax(2) - x_nMTVC.amin(2)).mean((1, 2))
        told = self.heads(features_nF)
        parts = {
            "speed": smooth_l1_loss(told[:, :3], 10 * speed),
            "reach": smooth_l1_loss(told[:, 3:], reach),
        }
        return parts["speed"] + self.reach * parts["reach"], parts


for part in ("speed", "reach"):  # so that a sweep may name them
    add(Figure(f"loss_{part}", f"error of the {part}", "step", "lower", labels=False))
register("objective", "motion", Motion, settings=MotionSettings, help="how fast, how far")
