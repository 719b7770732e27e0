"""A backbone: a recurrent network over the joints of each frame."""

from pydantic import Field
from torch import nn

from c2vl.config.experiment import ModelSettings
from c2vl.model.base import Backbone, normalise_joints
from c2vl.registry import register


class GRUSettings(ModelSettings):
    """A bidirectional GRU."""

    feature: int = Field(64, ge=8, le=1024, multiple_of=2, description="feature size")
    layers: int = Field(1, ge=1, le=8, description="layers of the GRU")


class GRU(Backbone):
    limits = {"feature": 1024, "layers": 8}

    def __init__(self, layout, *, feature=64, layers=1):
        super().__init__(layout, feature)
        numbers = 3 * len(layout.joints)
        self.norm = nn.BatchNorm1d(numbers)
        self.gru = nn.GRU(numbers, feature // 2, layers, batch_first=True, bidirectional=True)

    def bodies(self, x_BTVC):
        states, _ = self.gru(normalise_joints(self.norm, x_BTVC).flatten(2))
        return states.mean(1)  # over time: (B, feature)


register("backbone", "gru", GRU, settings=GRUSettings, help="a bidirectional GRU")
