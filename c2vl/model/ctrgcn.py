"""CTR-GCN: each channel refines the topology of the joints (Chen et al., ICCV 2021).

Ten blocks of a channel-wise topology refinement graph convolution (section 3.3, figure 3) and a
multi-scale temporal convolution (section 3.4), written from the paper. As in our ST-GCN absent
bodies never enter the network, and the feature is the mean over time, joints and present bodies.
Two exact shortcuts: the pairwise relations read the mean over time before their 1×1 convolutions
(both are linear), and the three subsets share each convolution.

Shapes: B bodies, T frames, V joints (U: the joint that is reached), C channels, K=3 subsets,
R channels of the relations.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from c2vl.model.base import Backbone, Skeleton, normalise_joints, stages
from c2vl.model.graph import spatial_partition

BRANCHES = 4  # of a temporal convolution: two dilations, a maximum, and the frame alone
DILATIONS = (1, 2)


class RefinedGraphConvolution(nn.Module):
    """Aggregate over the joints by a topology of each body and channel: ``A + α Q(x)``.

    ``Q[u, v] = ξ tanh(ψ(x_u) - φ(x_v))`` (equations 7 to 9), with ``A`` shared by all channels,
    learnt from the graph on, and ``α`` learnt from 0 on.
    """

    def __init__(self, channels: int, out: int, adjacency_KVU: Tensor) -> None:
        super().__init__()
        subsets = len(adjacency_KVU)
        relations = max(8, channels // 8)  # the paper's reduction by 8; 8 for the coordinates
        self.topology_KUV = nn.Parameter(adjacency_KVU.transpose(1, 2).clone())
        self.alpha = nn.Parameter(torch.zeros(()))
        self.pairs = nn.Conv1d(channels, 2 * subsets * relations, 1)  # ψ and φ
        self.spread = nn.Conv2d(subsets * relations, subsets * out, 1, groups=subsets)  # ξ
        self.values = nn.Conv2d(channels, subsets * out, 1)
        self.norm = nn.BatchNorm2d(out)
        nn.init.constant_(self.norm.weight, 1e-6)  # a block begins as its residual connection
        self.residual: nn.Module = nn.Identity()
        if channels != out:
            self.residual = nn.Sequential(nn.Conv2d(channels, out, 1), nn.BatchNorm2d(out))

    def topology(self, x_BCTV: Tensor) -> Tensor:
        """Return the topology of each body and channel, (B, K, C, U, V)."""
        to, source = self.pairs(x_BCTV.mean(2)).chunk(2, dim=1)
        refined = self.spread(torch.tanh(to[..., :, None] - source[..., None, :]))
        refined = refined.unflatten(1, (len(self.topology_KUV), -1))
        return self.topology_KUV[:, None] + self.alpha * refined  # type: ignore[no-any-return]

    def forward(self, x_BCTV: Tensor) -> Tensor:
        """Map (B, C, T, V) to (B, out, T, V)."""
        values = self.values(x_BCTV).unflatten(1, (len(self.topology_KUV), -1))
        y = torch.einsum("bkcuv,bkctv->bctu", self.topology(x_BCTV), values)
        return functional.relu(self.norm(y) + self.residual(x_BCTV))


class MultiScaleTemporalConvolution(nn.Module):
    """Four branches over time beside each other, a quarter of the channels each."""

    def __init__(self, channels: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        width = channels // BRANCHES

        def reduced(*then: nn.Module) -> nn.Sequential:
            begin = nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU()
            return nn.Sequential(*begin, *then, nn.BatchNorm2d(width))

        def dilated(by: int) -> nn.Conv2d:
            return nn.Conv2d(
                width,
                width,
                (kernel, 1),
                (stride, 1),
                (by * (kernel // 2), 0),
                dilation=(by, 1),
            )

        self.branches = nn.ModuleList(reduced(dilated(by)) for by in DILATIONS)
        self.branches.append(reduced(nn.MaxPool2d((3, 1), (stride, 1), (1, 0))))
        frame = nn.Conv2d(channels, width, 1, (stride, 1))
        self.branches.append(nn.Sequential(frame, nn.BatchNorm2d(width)))

    def forward(self, x_BCTV: Tensor) -> Tensor:
        """Map (B, C, T, V) to (B, C, ceil(T / stride), V)."""
        return torch.cat([branch(x_BCTV) for branch in self.branches], dim=1)


class Block(nn.Module):
    """Graph convolution, temporal convolution and a residual connection."""

    def __init__(
        self,
        channels: int,
        out: int,
        adjacency_KVU: Tensor,
        *,
        kernel: int,
        stride: int,
        residual: bool,
    ) -> None:
        super().__init__()
        self.spatial = RefinedGraphConvolution(channels, out, adjacency_KVU)
        self.temporal = MultiScaleTemporalConvolution(out, kernel=kernel, stride=stride)
        self.residual: nn.Module | None = None
        if residual and channels == out and stride == 1:
            self.residual = nn.Identity()
        elif residual:
            through = nn.Conv2d(channels, out, 1, (stride, 1))
            self.residual = nn.Sequential(through, nn.BatchNorm2d(out))

    def forward(self, x_BCTV: Tensor) -> Tensor:
        """Map (B, C, T, V) to (B, out, ceil(T / stride), V)."""
        y = self.temporal(self.spatial(x_BCTV))
        if self.residual is not None:
            y = y + self.residual(x_BCTV)
        return functional.relu(y)


class CTRGCN(Backbone):
    """The skeleton encoder: joints in, one feature vector a sequence out.

    Args:
        layout: gives the graph.
        hidden: channels of the first four blocks, then twice and four times as many; the paper
            has 64.
        feature: F, channels of the last block; the paper has 256.
        temporal_kernel: odd length of the dilated temporal convolutions.
    """

    limits: ClassVar = {"hidden": 256, "feature": 4096, "temporal_kernel": 31}

    def __init__(
        self,
        layout: Skeleton,
        *,
        hidden: int = 16,
        feature: int = 256,
        temporal_kernel: int = 5,
    ) -> None:
        if hidden % BRANCHES or feature % BRANCHES:
            raise ValueError(f"hidden {hidden} and feature {feature} must be multiples of 4")
        super().__init__(layout, feature)
        adjacency = torch.from_numpy(spatial_partition(layout.parents, layout.centre))
        self.norm_data = nn.BatchNorm1d(self.joints * 3)
        self.blocks = nn.ModuleList(
            Block(
                channels,
                out,
                adjacency,
                kernel=temporal_kernel,
                stride=stride,
                residual=index > 0,
            )
            for index, (channels, out, stride) in enumerate(stages(hidden, feature))
        )

    def bodies(self, x_BTVC: Tensor) -> Tensor:
        """Encode bodies (B, T, V, 3), all present, to (B, F)."""
        return self._map(x_BTVC).mean(dim=(2, 3))

    def feature_map(self, x_BTVC: Tensor) -> Tensor:
        """Encode bodies to features in time and place, (B, t, V, F)."""
        return self._map(x_BTVC).permute(0, 2, 3, 1)

    def _map(self, x_BTVC: Tensor) -> Tensor:
        """Return (B, F, t, V)."""
        x_BCTV = normalise_joints(self.norm_data, x_BTVC).permute(0, 3, 1, 2)
        for block in self.blocks:
            x_BCTV = block(x_BCTV)
        return x_BCTV
