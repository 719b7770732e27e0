"""ST-GCN that computes only what is there: absent bodies are skipped, channels are innermost.

The network is the lineage's (Yan et al., AAAI 2018; CrosSCLR, AimCLR): ten blocks of a spatial
graph convolution with three subsets and a 9×1 temporal convolution, edge importance, and a mean
over time, joints and present bodies. What differs is how it is computed:

* bodies that are absent never enter it, nor its batch statistics (the body mask);
* tensors are channels-last, so that a 1×1 convolution is one matrix product and the temporal
  convolution uses the fast path of oneDNN and cuDNN;
* joints are aggregated before the channel product, since no block has fewer channels out than in.

Shapes: B present bodies, T frames, V joints, C channels in, D channels out, K=3 subsets,
F features.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from c2vl.model.base import Backbone, Skeleton, normalise_joints, stages
from c2vl.model.graph import spatial_partition


class GraphConvolution(nn.Module):
    """Aggregate over the joints in K subsets, then mix channels: ``sum_k A_k x W_k + b_k``."""

    def __init__(self, channels: int, out: int, subsets: int) -> None:
        super().__init__()
        # The lineage's 1×1 convolution, (K·out, channels), with its initial values.
        reference = nn.Conv2d(channels, out * subsets, 1)
        assert reference.bias is not None
        self.weight = nn.Parameter(reference.weight.detach().view(subsets, out, channels).clone())
        self.bias = nn.Parameter(reference.bias.detach().view(subsets, out).clone())

    def forward(self, x_BTVC: Tensor, adjacency_KVV: Tensor) -> Tensor:
        """Aggregate and mix; the columns of ``adjacency_KVV`` are targets. Returns ``y_BTVD``."""
        B, T, V, C = x_BTVC.shape
        K, D, _ = self.weight.shape
        gather_1WV = adjacency_KVV.permute(2, 0, 1).reshape(1, V * K, V)  # W = V·K
        # A batched product on purpose: matmul would fold this into one product after two copies.
        y_SWC = torch.bmm(gather_1WV.expand(B * T, -1, -1), x_BTVC.reshape(B * T, V, C))  # S = B·T
        mixing = self.weight.permute(1, 0, 2).reshape(D, K * C)
        y_BTVD = functional.linear(y_SWC.view(B, T, V, K * C), mixing)
        return y_BTVD + adjacency_KVV.sum(1).t() @ self.bias  # a bias passes the graph too


class Block(nn.Module):
    """Graph convolution, temporal convolution and a residual connection."""

    def __init__(
        self, channels: int, out: int, *, kernel: int, stride: int, dropout: float, residual: bool
    ) -> None:
        super().__init__()
        self.stride = stride
        self.spatial = GraphConvolution(channels, out, subsets=3)
        self.norm_in = nn.BatchNorm2d(out)
        self.temporal = nn.Conv2d(out, out, (kernel, 1), (stride, 1), (kernel // 2, 0))
        self.norm_out = nn.BatchNorm2d(out)
        self.dropout = nn.Dropout(dropout)
        self.residual = residual
        self.project: nn.Linear | None = None
        if residual and (channels != out or stride != 1):
            reference = nn.Conv2d(channels, out, 1)
            self.project = nn.Linear(channels, out)
            self.project.weight.data = reference.weight.detach().view(out, channels).clone()
            self.norm_residual = nn.BatchNorm2d(out)

    def forward(self, x_BTVC: Tensor, adjacency_KVV: Tensor) -> Tensor:
        """Return ``y_BtVD``, t = T // stride."""
        y_BDTV = self.spatial(x_BTVC, adjacency_KVV).permute(0, 3, 1, 2)  # in memory still BTVD
        y_BDTV = functional.relu(self.norm_in(y_BDTV), inplace=True)
        y_BDtV = self.dropout(self.norm_out(self.temporal(y_BDTV)))
        if self.project is not None:
            x_BtVD = self.project(x_BTVC[:, :: self.stride])
            y_BDtV = y_BDtV + self.norm_residual(x_BtVD.permute(0, 3, 1, 2))
        elif self.residual:
            y_BDtV = y_BDtV + x_BTVC.permute(0, 3, 1, 2)
        return functional.relu(y_BDtV, inplace=True).permute(0, 2, 3, 1)


class STGCN(Backbone):
    """The skeleton encoder E: joints in, one feature vector a sequence out.

    Args:
        layout: gives the graph.
        hidden: channels of the first four blocks; then twice and four times as many.
        feature: channels of the last block, the feature size.
        temporal_kernel: odd length of the temporal convolutions.
        dropout: in every block but the first, as in the original.
        edge_importance: whether edge weights are learnt.
    """

    limits: ClassVar = {"hidden": 256, "feature": 4096, "temporal_kernel": 31}
    channels_last: ClassVar = True

    def __init__(
        self,
        layout: Skeleton,
        *,
        hidden: int = 16,
        feature: int = 256,
        temporal_kernel: int = 9,
        dropout: float = 0.0,
        edge_importance: bool = True,
    ) -> None:
        super().__init__(layout, feature)
        self.adjacency: Tensor
        adjacency = torch.from_numpy(spatial_partition(layout.parents, layout.centre))
        self.register_buffer("adjacency", adjacency, persistent=False)
        self.norm_data = nn.BatchNorm1d(self.joints * 3)
        plan = stages(hidden, feature)
        self.blocks = nn.ModuleList(
            Block(
                channels,
                out,
                kernel=temporal_kernel,
                stride=stride,
                dropout=dropout if index else 0.0,
                residual=index > 0,
            )
            for index, (channels, out, stride) in enumerate(plan)
        )
        self.importance = nn.ParameterList(
            nn.Parameter(torch.ones_like(adjacency), requires_grad=edge_importance) for _ in plan
        )

    def bodies(self, x_BTVC: Tensor) -> Tensor:
        """Encode bodies (B, T, V, 3), all present, to (B, F)."""
        return self.feature_map(x_BTVC).mean(dim=(1, 2))

    def feature_map(self, x_BTVC: Tensor) -> Tensor:
        """Encode bodies to features in time and place, (B, t, V, F)."""
        x_BTVC = normalise_joints(self.norm_data, x_BTVC)
        for block, importance_KVV in zip(self.blocks, self.importance, strict=True):
            x_BTVC = block(x_BTVC, self.adjacency * importance_KVV)
        return x_BTVC
