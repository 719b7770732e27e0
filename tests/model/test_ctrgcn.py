"""CTR-GCN: its equations written out, its shapes, and what it may not depend on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from c2vl.model.ctrgcn import CTRGCN, MultiScaleTemporalConvolution, RefinedGraphConvolution
from c2vl.model.graph import spatial_partition
from c2vl.skeletons.layout import get_layout

LAYOUT = get_layout("kinect20")
ADJACENCY = torch.from_numpy(spatial_partition(LAYOUT.parents, LAYOUT.centre))


def network(hidden: int = 8, feature: int = 16) -> CTRGCN:
    torch.manual_seed(0)
    return CTRGCN(LAYOUT, hidden=hidden, feature=feature)


def clips(n: int = 4, frames: int = 13) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    present = torch.ones(n, 2, dtype=torch.bool)
    present[: n // 2, 1] = False
    return torch.randn(n, 2, frames, len(LAYOUT.joints), 3), present


def awake(layer: RefinedGraphConvolution) -> RefinedGraphConvolution:
    """With refinement, and a norm that lets it through."""
    torch.nn.init.constant_(layer.alpha, 0.7)
    torch.nn.init.ones_(layer.norm.weight)
    return layer.double().eval()


@pytest.mark.parametrize(("channels", "out"), [(3, 16), (16, 16), (128, 8)])
def test_a_graph_convolution_is_the_papers_equations(channels: int, out: int) -> None:
    """Equations 7 to 9, subset by subset, frame by frame, with relations before the mean."""
    torch.manual_seed(0)
    layer = awake(RefinedGraphConvolution(channels, out, ADJACENCY))
    x = torch.randn(2, channels, 5, 20, dtype=torch.float64)
    subsets, relations = 3, max(8, channels // 8)
    psi_phi = layer.pairs.weight.view(2, subsets, relations, channels)
    psi_phi_bias = layer.pairs.bias.view(2, subsets, relations)
    xi, xi_bias = layer.spread.weight.view(subsets, out, relations), layer.spread.bias
    values = layer.values.weight.view(subsets, out, channels)
    value_bias = layer.values.bias.view(subsets, out)
    total = torch.zeros(2, out, 5, 20, dtype=torch.float64)
    for k in range(subsets):
        embedded = [
            (torch.einsum("rc,bctv->brtv", psi_phi[side, k], x)
             + psi_phi_bias[side, k][:, None, None]).mean(2)
            for side in (0, 1)
        ]  # fmt: skip
        distance = torch.tanh(embedded[0][..., :, None] - embedded[1][..., None, :])
        correlation = torch.einsum("or,bruv->bouv", xi[k], distance)
        correlation = correlation + xi_bias.view(subsets, out)[k][:, None, None]
        refined = layer.topology_KUV[k] + layer.alpha * correlation
        value = torch.einsum("oc,bctv->botv", values[k], x) + value_bias[k][:, None, None]
        for frame in range(5):
            total[:, :, frame] += torch.einsum("bouv,bov->bou", refined, value[:, :, frame])
    wanted = torch.relu(total / (1 + layer.norm.eps) ** 0.5 + layer.residual(x))
    torch.testing.assert_close(layer(x), wanted, rtol=1e-9, atol=1e-9)


def test_it_begins_with_the_skeletons_graph() -> None:
    layer = RefinedGraphConvolution(3, 8, ADJACENCY)
    topology = layer.topology(torch.randn(2, 3, 5, 20))
    wanted = ADJACENCY.transpose(1, 2)[None, :, None].expand(2, 3, 8, 20, 20)
    torch.testing.assert_close(topology, wanted)


@pytest.mark.parametrize(("stride", "frames"), [(1, 13), (2, 7)])
def test_temporal_branches_keep_their_pace(stride: int, frames: int) -> None:
    layer = MultiScaleTemporalConvolution(8, kernel=5, stride=stride)
    assert layer(torch.randn(2, 8, 13, 20)).shape == (2, 8, frames, 20)
    # A frame reaches as far as the wider dilation: 2 × 2 frames to each side, and no further.
    layer.eval()
    x = torch.randn(1, 8, 13, 20, requires_grad=True)
    layer(x)[:, :, frames // 2].sum().backward()
    assert x.grad is not None
    reached = x.grad.abs().sum((0, 1, 3)).nonzero().flatten().tolist()
    assert reached == [2, 4, 5, 6, 7, 8, 10]


def test_one_feature_vector_a_sequence_and_a_gradient_everywhere() -> None:
    model = network()
    for block in model.blocks:
        awake(block.spatial).float().train()
    x, present = clips()
    features = model(x, present)
    assert features.shape == (4, 16)
    features.square().sum().backward()
    for name, value in model.named_parameters():
        assert value.grad is not None and value.grad.isfinite().all(), name
        # A bias before a batch norm changes nothing; everything else must.
        if not name.endswith("bias"):
            assert value.grad.abs().sum() > 0, name


def test_absent_bodies_touch_nothing_and_slots_are_alike() -> None:
    model, again = network(), network()
    x, present = clips()
    spoilt = torch.where(present[:, :, None, None, None], x, torch.full_like(x, 7.0))
    assert torch.equal(model(x, present), again(spoilt, present))
    assert torch.equal(model.norm_data.running_mean, again.norm_data.running_mean)
    model.eval()
    torch.testing.assert_close(
        model(x.flip(1), present.flip(1)), model(x, present), rtol=1e-5, atol=1e-6
    )


def test_renaming_the_joints_changes_nothing() -> None:
    """Joints in another order, with the graph in that order, give the same features."""
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    model, other = network().eval(), network().eval()
    for block in (*model.blocks, *other.blocks):
        awake(block.spatial).float()
    with torch.no_grad():
        for block in other.blocks:
            block.spatial.topology_KUV.copy_(block.spatial.topology_KUV[:, order][:, :, order])
    x, present = clips()
    torch.testing.assert_close(
        other(x[:, :, :, order], present), model(x, present), rtol=1e-4, atol=1e-5
    )


def test_the_papers_size() -> None:
    """Table 3: 1.46 million parameters at width 64, of which the classifier has 60 × 257."""
    model = CTRGCN(get_layout("ntu25"), hidden=64, feature=256)
    count = sum(value.numel() for value in model.parameters()) + 60 * 257
    assert 1.40e6 < count < 1.50e6


def test_widths_that_do_not_divide_and_other_joints_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 4"):
        CTRGCN(LAYOUT, hidden=10)
    with pytest.raises(ValueError, match=r"\(N, M, T, 20, 3\)"):
        network()(torch.zeros(1, 1, 8, 25, 3), torch.ones(1, 1, dtype=torch.bool))
