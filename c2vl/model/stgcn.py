"""ST-GCN that computes only what is there: absent bodies are skipped, channels are innermost.

The network is the lineage's (Yan et al., AAAI 2018; CrosSCLR, AimCLR): ten blocks of a spatial
graph convolution with three subsets and a 9×1 temporal convolution, edge importance, and a mean
over time, joints and present bodies. What differs is how it is computed:

* bodies that are absent never enter it, nor its batch statistics (the body mask);
* tensors are channels-last, so that a 1×1 convolution is one matrix product and the temporal
  convolution uses the fast path of oneDNN and cuDNN;
* joints are aggregated before the channel product, since no block has fewer channels out than in.

Shapes: N sequences, M body slots, B present bodies, T frames, V joints, C channels, K=3 subsets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class GraphConvolution(nn.Module):
    """Aggregate over the joints in K subsets, then mix channels: ``sum_k A_k x W_k + b_k``."""

    def __init__(self, channels: int, out: int, subsets: int) -> None:
        super().__init__()
        # The lineage's 1×1 convolution, (K·out, channels), with its initial values.
        reference = nn.Conv2d(channels, out * subsets, 1)
        assert reference.bias is not None
        self.weight = nn.Parameter(reference.weight.detach().view(subsets, out, channels).clone())
        self.bias = nn.Parameter(reference.bias.detach().view(subsets, out).clone())

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Map (B, T, V, C) to (B, T, V, out); ``adjacency`` is (K, V, V), columns are targets."""
        bodies, frames, joints, channels = x.shape
        subsets, out, _ = self.weight.shape
        gather = adjacency.permute(2, 0, 1).reshape(1, joints * subsets, joints)
        # A batched product on purpose: matmul would fold this into one product after two copies.
        y = torch.bmm(
            gather.expand(bodies * frames, -1, -1), x.reshape(bodies * frames, joints, channels)
        )
        y = y.view(bodies, frames, joints, subsets * channels)
        mixing = self.weight.permute(1, 0, 2).reshape(out, subsets * channels)
        y = functional.linear(y, mixing)
        return y + adjacency.sum(1).t() @ self.bias  # (V, out): a bias passes the graph too


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

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Map (B, T, V, C) to (B, T // stride, V, out)."""
        y = self.spatial(x, adjacency).permute(0, 3, 1, 2)  # logically BCTV, in memory BTVC
        y = functional.relu(self.norm_in(y), inplace=True)
        y = self.dropout(self.norm_out(self.temporal(y)))
        if self.project is not None:
            y = y + self.norm_residual(self.project(x[:, :: self.stride]).permute(0, 3, 1, 2))
        elif self.residual:
            y = y + x.permute(0, 3, 1, 2)
        return functional.relu(y, inplace=True).permute(0, 2, 3, 1)


class STGCN(nn.Module):
    """The skeleton encoder E: joints in, one feature vector a sequence out.

    Args:
        adjacency: (3, V, V) from :func:`c2vl.model.graph.spatial_partition`.
        hidden: channels of the first four blocks; then twice and four times as many.
        feature: channels of the last block, the feature size.
        temporal_kernel: odd length of the temporal convolutions.
        dropout: in every block but the first, as in the original.
        edge_importance: whether edge weights are learnt.
    """

    def __init__(
        self,
        adjacency: Tensor,
        *,
        hidden: int = 16,
        feature: int = 256,
        temporal_kernel: int = 9,
        dropout: float = 0.0,
        edge_importance: bool = True,
    ) -> None:
        super().__init__()
        self.adjacency: Tensor
        self.register_buffer("adjacency", adjacency, persistent=False)
        self.joints = adjacency.shape[-1]
        self.feature = feature
        self.norm_data = nn.BatchNorm1d(self.joints * 3)
        wide, wider = 2 * hidden, 4 * hidden
        plan = [(3, hidden, 1)] + [(hidden, hidden, 1)] * 3
        plan += [(hidden, wide, 2)] + [(wide, wide, 1)] * 2
        plan += [(wide, wider, 2), (wider, wider, 1), (wider, feature, 1)]
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

    def forward(self, x_NMTVC: Tensor, present_NM: Tensor) -> Tensor:
        """Encode a batch.

        Args:
            x_NMTVC: (N, M, T, V, 3) preprocessed joints; absent bodies may hold anything finite.
            present_NM: (N, M) bool; each sequence has at least one present body.

        Returns:
            (N, feature).
        """
        if x_NMTVC.ndim != 5 or x_NMTVC.shape[3] != self.joints or x_NMTVC.shape[4] != 3:
            raise ValueError(
                f"expected joints of shape (N, M, T, {self.joints}, 3), found "
                f"{tuple(x_NMTVC.shape)}"
            )
        return self.pool(self.bodies(x_NMTVC[present_NM]), present_NM)

    def bodies(self, x_BTVC: Tensor) -> Tensor:
        """Encode bodies (B, T, V, 3), all present, to (B, feature)."""
        bodies, frames, joints, channels = x_BTVC.shape
        x = self.norm_data(x_BTVC.reshape(bodies, frames, joints * channels).transpose(1, 2))
        x = x.transpose(1, 2).reshape(bodies, frames, joints, channels)
        for block, importance in zip(self.blocks, self.importance, strict=True):
            x = block(x, self.adjacency * importance)
        features: Tensor = x.mean(dim=(1, 2))
        return features

    def pool(self, per_body: Tensor, present_NM: Tensor) -> Tensor:
        """Mean over the present bodies of each sequence: (B, feature) to (N, feature)."""
        if present_NM.shape[1] == 1:
            return per_body
        sequence = present_NM.nonzero()[:, 0]
        total = per_body.new_zeros(present_NM.shape[0], per_body.shape[1])
        total = total.index_add(0, sequence, per_body)
        return total / present_NM.sum(1, keepdim=True)
