"""The named baseline: ST-GCN in plain PyTorch, written the way the lineage's code does.

NCTV tensors, a 1×1 convolution to three subsets followed by an einsum, and both body slots always
computed (AimCLR, CrosSCLR and their descendants; Yan et al., AAAI 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PlainBlock(nn.Module):
    def __init__(
        self, channels: int, out: int, kernel: int, stride: int, dropout: float, residual: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out * 3, 1)
        self.tcn = nn.Sequential(
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, (kernel, 1), (stride, 1), (kernel // 2, 0)),
            nn.BatchNorm2d(out),
            nn.Dropout(dropout),
        )
        self.residual: nn.Module | None = None
        if residual and channels == out and stride == 1:
            self.residual = nn.Identity()
        elif residual:
            self.residual = nn.Sequential(
                nn.Conv2d(channels, out, 1, (stride, 1)), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        residual = 0 if self.residual is None else self.residual(x)
        y = self.conv(x)
        n, kc, t, v = y.shape
        y = torch.einsum("nkctv,kvw->nctw", y.view(n, 3, kc // 3, t, v), adjacency).contiguous()
        return torch.relu(self.tcn(y) + residual)


class PlainSTGCN(nn.Module):
    """Input (N, 3, T, V, M), output (N, feature)."""

    def __init__(
        self, adjacency: Tensor, *, hidden: int, feature: int, kernel: int, dropout: float
    ) -> None:
        super().__init__()
        self.register_buffer("adjacency", adjacency)
        self.adjacency: Tensor
        joints = adjacency.shape[-1]
        self.data_bn = nn.BatchNorm1d(3 * joints)
        h = hidden
        plan = [(3, h, 1), (h, h, 1), (h, h, 1), (h, h, 1), (h, 2 * h, 2), (2 * h, 2 * h, 1)]
        plan += [(2 * h, 2 * h, 1), (2 * h, 4 * h, 2), (4 * h, 4 * h, 1), (4 * h, feature, 1)]
        self.blocks = nn.ModuleList(
            PlainBlock(i, o, kernel, s, 0.0 if index == 0 else dropout, residual=index > 0)
            for index, (i, o, s) in enumerate(plan)
        )
        self.importance = nn.ParameterList(nn.Parameter(torch.ones_like(adjacency)) for _ in plan)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        n, c, t, v, m = x.shape
        y = x.permute(0, 4, 3, 1, 2).reshape(n * m, v * c, t)
        y = self.data_bn(y)
        y = y.view(n * m, v, c, t).permute(0, 2, 3, 1).contiguous()
        for block, importance in zip(self.blocks, self.importance, strict=True):
            y = block(y, self.adjacency * importance)
        per_body = y.mean(dim=(2, 3)).view(n, m, -1)
        weight = present.to(per_body.dtype).unsqueeze(-1)
        return (per_body * weight).sum(1) / weight.sum(1)


def copy_weights(
    ours: nn.Module, plain: PlainSTGCN, *, gradients: bool = False
) -> dict[str, Tensor]:
    """Copy the weights of :class:`c2vl.model.stgcn.STGCN` into the baseline.

    With ``gradients`` nothing is copied: the gradients of ours are returned under the names and in
    the shapes of the baseline's parameters.
    """

    def take(value: Tensor) -> Tensor:
        if not gradients:
            return value.detach()
        assert value.grad is not None
        return value.grad

    found: dict[str, Tensor] = {}

    def put(prefix: str, ours_module: nn.Module) -> None:
        for key, value in ours_module.named_parameters():
            found[f"{prefix}.{key}"] = take(value)

    put("data_bn", ours.norm_data)
    for i, block in enumerate(ours.blocks):
        found[f"blocks.{i}.conv.weight"] = take(block.spatial.weight).flatten(0, 1)[..., None, None]
        found[f"blocks.{i}.conv.bias"] = take(block.spatial.bias).flatten()
        put(f"blocks.{i}.tcn.0", block.norm_in)
        put(f"blocks.{i}.tcn.2", block.temporal)
        put(f"blocks.{i}.tcn.3", block.norm_out)
        if block.project is not None:
            found[f"blocks.{i}.residual.0.weight"] = take(block.project.weight)[..., None, None]
            found[f"blocks.{i}.residual.0.bias"] = take(block.project.bias)
            put(f"blocks.{i}.residual.1", block.norm_residual)
        found[f"importance.{i}"] = take(ours.importance[i])
    if not gradients:
        plain.load_state_dict(found, strict=False)
        assert found.keys() == dict(plain.named_parameters()).keys()
    return found
