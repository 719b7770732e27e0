"""What a backbone is: a network that encodes bodies, from which the base class pools sequences.

Shapes: N sequences, M body slots, B present bodies, T frames, V joints, C channels, F features,
t steps in time of a feature map.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from torch import Tensor, nn


class Skeleton(Protocol):
    """What a backbone may ask of a joint layout (:class:`c2vl.skeletons.layout.JointLayout`)."""

    @property
    def joints(self) -> Sequence[str]:
        """Names of the V joints."""

    @property
    def parents(self) -> Sequence[int]:
        """Parent of each joint; a root is its own parent."""

    @property
    def centre(self) -> int:
        """The joint in the middle of the body."""


def body_slots(present_NM: Tensor) -> Tensor:
    """Return the number n·M + m of each present body, ascending, (B,)."""
    return present_NM.flatten().nonzero()[:, 0]


def normalise_joints(norm: nn.Module, x_BTVC: Tensor) -> Tensor:
    """Apply a ``BatchNorm1d(V·C)`` to each coordinate of each joint, over bodies and time."""
    x_BJT = norm(x_BTVC.flatten(2).transpose(1, 2))  # J = V·C
    normalised: Tensor = x_BJT.transpose(1, 2).reshape(x_BTVC.shape)
    return normalised


def stages(hidden: int, feature: int) -> list[tuple[int, int, int]]:
    """Return (channels in, channels out, temporal stride) of the ten blocks of ST-GCN and CTR-GCN.

    Args:
        hidden: channels of the first four blocks; then twice, then four times as many.
        feature: channels of the last block.
    """
    wide, wider = 2 * hidden, 4 * hidden
    out = [hidden] * 4 + [wide] * 3 + [wider] * 2 + [feature]
    strides = [2 if index in (4, 7) else 1 for index in range(10)]
    return list(zip([3, *out], out, strides, strict=False))


class Backbone(nn.Module, ABC):
    """Base of all backbones; only ``__init__`` and :meth:`bodies` must be written.

    Objectives that read features in place and time need :meth:`feature_map` too.

    ``__init__(self, layout, **settings)`` takes the joint layout and the settings of the part by
    name (all but ``name``), and calls ``super().__init__(layout, feature)``.

    Attributes:
        joints: V.
        feature: F, the size of a feature vector.
        limits: the largest value of settings that decide how much memory the network takes; an
            encoder from a stranger that asks for more is refused before it is built.
        channels_last: whether its tensors have channels innermost, so that a GPU wants the weights
            of its convolutions so too.
    """

    limits: ClassVar[Mapping[str, int]] = {}
    channels_last: ClassVar[bool] = False

    def __init__(self, layout: Skeleton, feature: int) -> None:
        super().__init__()
        self.joints, self.feature = len(layout.joints), feature

    @abstractmethod
    def bodies(self, x_BTVC: Tensor) -> Tensor:
        """Encode bodies (B, T, V, 3), all present, to (B, F); exporters call it too."""

    def feature_map(self, x_BTVC: Tensor) -> Tensor:
        """Encode bodies to (B, t, V, F), of which :meth:`bodies` is the mean over time and joints.

        Optional: a network that mixes joints for good has no such features.
        """
        raise NotImplementedError(f"{type(self).__name__} has no feature map")

    def forward(
        self,
        x_NMTVC: Tensor,
        present_NM: Tensor,
        slots_B: Tensor | None = None,
        maps: bool = False,
    ) -> Tensor:
        """Encode a batch: the mean over the present bodies of each sequence.

        Args:
            x_NMTVC: (N, M, T, V, 3) preprocessed joints; absent bodies may hold anything finite.
            present_NM: (N, M) bool; each sequence has at least one present body.
            slots_B: :func:`body_slots` of ``present_NM``; whoever computes them before the batch
                goes to a GPU saves a wait for it.
            maps: return the feature map of each body slot instead; those of absent bodies are 0.

        Returns:
            (N, F), or (N, M, t, V, F) with ``maps``.
        """
        if x_NMTVC.ndim != 5 or x_NMTVC.shape[3] != self.joints or x_NMTVC.shape[4] != 3:
            raise ValueError(
                f"expected joints of shape (N, M, T, {self.joints}, 3), found "
                f"{tuple(x_NMTVC.shape)}"
            )
        if slots_B is None:
            slots_B = body_slots(present_NM)
        encode = self.feature_map if maps else self.bodies
        found_B = encode(x_NMTVC.flatten(0, 1).index_select(0, slots_B))
        N, M = present_NM.shape
        if M == 1:
            return found_B[:, None] if maps else found_B
        found_S = found_B.new_zeros(N * M, *found_B.shape[1:])  # S = N·M
        found_NM = found_S.index_copy(0, slots_B, found_B).view(N, M, *found_B.shape[1:])
        return found_NM if maps else found_NM.sum(1) / present_NM.sum(1, keepdim=True)
