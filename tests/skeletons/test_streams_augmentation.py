from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from c2vl.skeletons.augmentation import _by_axis, augment, rotations, temporal_crop
from c2vl.skeletons.augmentation_settings import ExtremeSettings, GeometricSettings
from c2vl.skeletons.extreme_augmentation import blurred_over_time, extreme
from c2vl.skeletons.layout import KINECT20, NTU25
from c2vl.skeletons.streams import to_stream
from c2vl.support.errors import UserError

OFF = {"crop_padding": 0, "shear": 0, "rotation": 0}
EVERYTHING = GeometricSettings(noise=0.01, scale=0.2, mirror=0.5, joint_mask=0.2)


def batch(seed: int = 0, count: int = 6, length: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 2, length, 25, 3, generator=generator)
    present = torch.ones(count, 2, dtype=torch.bool)
    present[::2, 1] = False
    return x * present[:, :, None, None, None], present


def run(x: torch.Tensor, present: torch.Tensor, seed: int = 3, **changes: float) -> torch.Tensor:
    chosen = GeometricSettings(**{**OFF, **changes})
    return augment(x, present, chosen, NTU25, torch.Generator().manual_seed(seed))


def test_streams_in_closed_form() -> None:
    x, _ = batch()
    assert to_stream(x, "joint", NTU25) is x
    bone, motion = to_stream(x, "bone", NTU25), to_stream(x, "motion", NTU25)
    for child, parent in enumerate(NTU25.parents):
        assert torch.equal(bone[..., child, :], x[..., child, :] - x[..., parent, :])
    assert not bone[..., NTU25.centre, :].any()
    assert torch.equal(motion[:, :, :-1], x[:, :, 1:] - x[:, :, :-1]) and not motion[:, :, -1].any()
    assert not to_stream(torch.zeros(1, 1, 4, 20, 3), "bone", KINECT20).any()
    with pytest.raises(UserError, match='did you mean "bone"'):
        to_stream(x, "bones", NTU25)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_absent_bodies_stay_zero_and_draws_are_the_generators(seed: int) -> None:
    x, present = batch(seed)
    before = x.clone()
    one, two = (
        augment(x, present, EVERYTHING, NTU25, torch.Generator().manual_seed(seed))
        for _ in range(2)
    )
    assert torch.equal(one, two) and torch.equal(x, before)
    assert one.shape == x.shape and one.isfinite().all()
    assert not one[~present].any() and one[present].flatten(1).any(dim=1).all()
    other = augment(x, present, EVERYTHING, NTU25, torch.Generator().manual_seed(seed + 1))
    assert not torch.equal(one, other)


def test_all_off_is_the_identity() -> None:
    x, present = batch()
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    assert augment(x, present, GeometricSettings(**OFF), NTU25, generator) is x
    assert torch.equal(generator.get_state(), state)


def test_every_sample_has_its_own_draw_and_both_bodies_share_it() -> None:
    x, _ = batch()
    same = x[1:2].expand(6, -1, -1, -1, -1).clone()
    same[:, 1] = same[:, 0]
    everyone = torch.ones(6, 2, dtype=torch.bool)
    for changes in ({"shear": 0.5}, {"rotation": 1.0}, {"scale": 0.5}, {"joint_mask": 0.5}):
        out = run(same, everyone, **changes)
        torch.testing.assert_close(out[:, 0], out[:, 1])
        assert not torch.equal(out[0], out[1]), changes


def test_crop_is_a_window_of_the_reflected_clip() -> None:
    time = torch.arange(12.0).view(1, 1, 12, 1, 1).expand(200, 1, 12, 25, 3).contiguous()
    out = temporal_crop(time, 1 / 4, torch.Generator().manual_seed(0))[:, 0, :, 0, 0].tolist()
    padded = [2, 1, 0, *range(12), 11, 10, 9]
    windows = [[float(value) for value in padded[start : start + 12]] for start in range(7)]
    assert all(row in windows for row in out)
    assert all(window in out for window in windows)


def test_rotation_keeps_distances_and_orientation() -> None:
    x, present = batch()
    out = run(x, present, rotation=3.0)
    torch.testing.assert_close(out.norm(dim=-1), x.norm(dim=-1), atol=1e-4, rtol=1e-4)
    turn = rotations(torch.randn(50, 3, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3).expand(50, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(turn.det(), torch.ones(50))
    quarter = rotations(torch.tensor([[0.0, 0.0, torch.pi / 2]]))[0]
    torch.testing.assert_close(
        torch.tensor([1.0, 0, 0]) @ quarter, torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0
    )


def test_shear_has_ones_on_the_diagonal() -> None:
    x = torch.zeros(40, 1, 2, 25, 3)
    x[..., :3, :] = torch.eye(3)
    out = run(x, torch.ones(40, 1, dtype=torch.bool), shear=0.4)[:, 0, 0, :3]
    assert torch.equal(out.diagonal(dim1=1, dim2=2), torch.ones(40, 3))
    off = out - torch.eye(3)
    assert off.abs().max() <= 0.4 and off.abs().max() > 0.3
    assert (off.flatten(1) != 0).sum(1).eq(6).all()


def test_scale_mirror_mask_and_noise() -> None:
    x, present = batch()
    ratio = run(x, present, scale=0.3)[present] / x[present]
    assert ratio.min() >= 0.7 and ratio.max() <= 1.3
    assert (ratio.flatten(1).amax(1) - ratio.flatten(1).amin(1) < 1e-4).all()
    mirrored = run(x, present, mirror=1.0)
    assert torch.equal(run(mirrored, present, mirror=1.0), x)
    assert torch.equal(mirrored[..., 4, 0], -x[..., 8, 0])
    assert torch.equal(mirrored[..., 4, 1:], x[..., 8, 1:])
    masked = run(x, present, joint_mask=0.5)
    kept = masked.ne(0).any(-1).any(2)[present]  # a joint is there in all frames or in none
    assert torch.equal(kept, masked.ne(0).any(-1).all(2)[present])
    assert 0.3 < kept.float().mean() < 0.7
    x[1, 0, 5] = 0  # gone for one frame
    noisy = run(x, present, noise=0.05)
    assert not noisy[1, 0, 5].any() and not torch.equal(noisy, x)
    assert (noisy - x).std() == pytest.approx(0.05 * (73 / 96) ** 0.5, rel=0.15)


def test_a_gpus_way_of_turning_gives_the_same_numbers() -> None:
    x, maps = torch.randn(6, 50, 3), rotations(torch.randn(6, 3))
    torch.testing.assert_close(_by_axis(x, maps), x @ maps, rtol=0, atol=1e-6)


def test_extreme_augmentation_in_closed_form() -> None:
    x, present = batch(count=40)
    same = {**OFF, "noise": 0, "mirror": 0, "reverse": 0, "blur": 0, "axis_mask": 0}

    def run_extreme(**changes: float) -> torch.Tensor:
        chosen = ExtremeSettings(**{**same, **changes})
        return extreme(x, present, chosen, NTU25, torch.Generator().manual_seed(3))

    assert torch.equal(run_extreme(), x)
    assert torch.equal(run_extreme(reverse=1), x.flip(2))
    masked = run_extreme(axis_mask=1)
    zero = (masked == 0)[:, 0].flatten(1, 2).all(1)
    assert (zero.sum(1) == 1).all() and zero.any(0).all()
    assert torch.equal(masked[(~zero)[:, None, None, None].expand_as(x)],
                       x[(~zero)[:, None, None, None].expand_as(x)])  # fmt: skip
    some = (run_extreme(reverse=0.5) != x).flatten(1).any(1)
    assert some.any() and not some.all()
    impulse = torch.zeros(1, 1, 31, 1, 3)
    impulse[:, :, 15] = 1
    blurred = blurred_over_time(impulse, torch.tensor([2.0]))[0, 0, :, 0, 0]
    expected = torch.exp(-((torch.arange(31) - 15.0) ** 2) / 8) * (abs(torch.arange(31) - 15) <= 7)
    torch.testing.assert_close(blurred, expected / expected.sum())
    still = torch.ones(2, 1, 5, 1, 3)
    torch.testing.assert_close(blurred_over_time(still, torch.tensor([0.5, 2.0])), still)
