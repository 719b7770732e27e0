"""The skipping, channels-last ST-GCN gives the numbers of the plain one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from c2vl.model.graph import hop_distance, spatial_partition
from c2vl.model.stgcn import STGCN
from c2vl.skeletons.layout import get_layout
from tests.benchmarks.plain_stgcn import PlainSTGCN, copy_weights

LAYOUT = get_layout("ntu25")


def pair(dropout: float = 0.0) -> tuple[PlainSTGCN, STGCN]:
    torch.manual_seed(0)
    adjacency = torch.from_numpy(spatial_partition(LAYOUT.parents, LAYOUT.centre))
    plain = PlainSTGCN(adjacency, hidden=8, feature=32, kernel=9, dropout=dropout)
    ours = STGCN(LAYOUT, hidden=8, feature=32, dropout=dropout)
    for importance in ours.importance:  # not all ones, so that the edges' weights are compared
        importance.data.uniform_(0.5, 1.5)
    copy_weights(ours, plain)
    return plain, ours


def clips(one_person: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    present = torch.ones(10, 2, dtype=torch.bool)
    present[:one_person, 1] = False
    x = torch.randn(10, 2, 20, 25, 3)
    return x * present[:, :, None, None, None], present


def run(model: nn.Module, x: Tensor, present: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    out = model(x, present)
    out.square().sum().backward()
    return out.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def as_plain(x: Tensor) -> Tensor:
    return x.permute(0, 4, 2, 3, 1).contiguous()


@pytest.mark.parametrize(
    ("mode", "one_person"),
    [("train", 0), ("eval", 8), ("eval", 0)],
    ids=["training, everybody present", "evaluation, most alone", "evaluation"],
)
def test_same_numbers_and_gradients(mode: str, one_person: int) -> None:
    # In float64: ten batch norms in a row magnify float32 rounding in gradients to about 1e-3.
    plain, ours = pair()
    x, present = clips(one_person)
    x = x.double()
    for model in (plain, ours):
        model.double().train(mode == "train")
    expected, expected_grads = run(plain, as_plain(x), present)
    out, _ = run(ours, x, present)
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)
    there = copy_weights(ours, plain, gradients=True)
    assert len(there) == len(expected_grads)
    for name, gradient in there.items():
        torch.testing.assert_close(gradient, expected_grads[name], rtol=1e-9, atol=1e-9, msg=name)


def test_same_features_in_single_precision() -> None:
    plain, ours = pair()
    x, present = clips(one_person=0)
    torch.testing.assert_close(ours(x, present), plain(as_plain(x), present), rtol=0, atol=1e-4)


def test_absent_bodies_touch_nothing() -> None:
    _, ours = pair()
    x, present = clips(one_person=8)
    out, _ = run(ours.train(), x, present)
    mean = ours.norm_data.running_mean.clone()
    _, other = pair()
    garbage = torch.where(present[:, :, None, None, None], x, torch.full_like(x, 7.0))
    again, _ = run(other.train(), garbage, present)
    assert torch.equal(out, again)
    assert torch.equal(mean, other.norm_data.running_mean)


def test_wrong_joint_count_is_named() -> None:
    _, ours = pair()
    with pytest.raises(ValueError, match=r"\(N, M, T, 25, 3\)"):
        ours(torch.zeros(1, 1, 8, 20, 3), torch.ones(1, 1, dtype=torch.bool))


def test_partition_is_the_normalised_adjacency() -> None:
    for name in ("ntu25", "kinect20"):
        layout = get_layout(name)
        parts = spatial_partition(layout.parents, layout.centre)
        hops = hop_distance(layout.parents)
        assert ((parts.sum(0) > 0) == (hops <= 1)).all()
        assert ((parts > 0).sum(0) <= 1).all()  # each edge is in one subset
        torch.testing.assert_close(
            torch.from_numpy(parts.sum((0, 1))), torch.ones(len(layout.joints))
        )


def test_unconnected_layout_is_refused() -> None:
    with pytest.raises(ValueError, match="connect"):
        spatial_partition((0, 0, 2), 0)
