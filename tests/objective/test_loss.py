"""Closed-form checks of the objective."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from c2vl.objective import targets
from c2vl.objective.heads import ConceptHeads
from c2vl.objective.loss import View, c2vl_loss, view
from c2vl.objective.settings import ContrastSettings
from tests.objective import reference

N, F, D = 7, 12, 9


def heads(modalities: tuple[str, ...] = ("language",), **kwargs: object) -> ConceptHeads:
    torch.manual_seed(3)
    options = {"temperature": 0.2, "learn_temperature": False, "floor": 0.01, "adapter": False}
    module = ConceptHeads(F, dict.fromkeys(modalities, D), **{**options, **kwargs})  # type: ignore[arg-type]
    return module.double()


def batch(
    modalities: tuple[str, ...] = ("language",), n: int = N, seed: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, F, generator=generator, dtype=torch.float64)
    concepts = {
        name: functional.normalize(torch.randn(n, D, generator=generator, dtype=torch.float64))
        for name in modalities
    }
    return features, concepts


def objective(**kwargs: object) -> ContrastSettings:
    return ContrastSettings.model_validate({"temperature": 0.2, **kwargs})


BOTH = {"skeleton_language": 0.7, "skeleton_vision": 1.3, "vision_language": 0.4}


@pytest.mark.parametrize(
    ("kind", "guide", "back_guide", "consistency", "alpha"),
    list(
        itertools.product(
            ("hard", "intra", "inter", "both"),
            ("concept", "skeleton"),
            ("concept", "skeleton"),
            ("swapped", "cross"),
            (0.0, 0.3, 1.0),
        )
    ),
)
def test_numpy_reference(
    kind: str, guide: str, back_guide: str, consistency: str, alpha: float
) -> None:
    settings_ = objective(
        targets=kind,
        forward_guide=guide,
        reverse_guide=back_guide,
        consistency=consistency,
        beta=0.3,
        temperature_intra=0.15,
        temperature_inter=0.25,
        weights=BOTH,
    )
    module = heads(("language", "vision"), adapter=True)
    with torch.no_grad():
        for adapter in module.adapters.values():
            adapter.weight.add_(0.1 * torch.randn(D, D, dtype=torch.float64))
    seen = view(module, *batch(("language", "vision")))
    loss, parts = c2vl_loss(settings_, module, seen, alpha=alpha)
    s = {name: rows.detach().numpy() for name, rows in seen.skeleton.items()}
    c = {name: rows.detach().numpy() for name, rows in seen.concept.items()}
    ends = {
        "skeleton_language": (s["language"], c["language"]),
        "skeleton_vision": (s["vision"], c["vision"]),
        "vision_language": (c["vision"], c["language"]),
    }
    other = {"skeleton_language": "skeleton_vision", "skeleton_vision": "skeleton_language"}
    total = 0.0
    for name, (a, b) in ends.items():
        expected = reference.edge(
            a,
            b,
            tau=0.2,
            alpha=alpha,
            targets=kind,
            beta=0.3,
            tau_intra=0.15,
            tau_inter=0.25,
            forward_guide=guide,
            reverse_guide=back_guide,
            cross=ends[other[name]] if consistency == "cross" and name in other else None,
        )
        assert parts[name].item() == pytest.approx(expected, abs=1e-6)
        total += BOTH[name] * expected
    assert loss.item() == pytest.approx(total, abs=1e-6)


def test_no_softening_is_clip() -> None:
    module, (features, concepts) = heads(), batch()
    seen = view(module, features, concepts)
    loss, _ = c2vl_loss(objective(targets="both"), module, seen, alpha=0.0)
    z = functional.normalize(module.maps["language"](features))
    logits = z @ concepts["language"].t() / 0.2
    label = torch.arange(N)
    clip = (
        functional.cross_entropy(logits, label) + functional.cross_entropy(logits.t(), label)
    ) / 2
    assert loss.item() == pytest.approx(clip.item(), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    alpha=st.floats(0, 1),
    beta=st.floats(0, 1),
    tau=st.floats(0.02, 2),
    n=st.integers(2, 12),
    seed=st.integers(0, 99),
)
def test_targets_are_distributions(
    alpha: float, beta: float, tau: float, n: int, seed: int
) -> None:
    _, concepts = batch(("language", "vision"), n, seed)
    a, b = concepts["vision"].requires_grad_(), concepts["language"]
    mixed = targets.mix(alpha, beta, targets.intra(b, tau), targets.inter(a, b, tau), a)
    assert not mixed.requires_grad
    assert (mixed >= 0).all()
    torch.testing.assert_close(mixed.sum(1), torch.ones(n, dtype=mixed.dtype))


@settings(max_examples=40, deadline=None)
@given(effective=st.floats(1.2, 9), n=st.integers(10, 14), seed=st.integers(0, 99))
def test_a_wanted_number_of_effective_targets_is_met(effective: float, n: int, seed: int) -> None:
    """Also among the rows that take part alone; in closed form for similarities of two values."""
    guide = batch(n=n, seed=seed)[1]["language"]
    kept = torch.arange(n) != 3
    for mask in (None, kept):
        found = targets.intra(guide, 0.1, mask, effective)
        rows = found if mask is None else found[mask]
        perplexity = torch.special.entr(rows).sum(1).mean().exp()
        assert float(perplexity) == pytest.approx(effective, rel=1e-5)
        torch.testing.assert_close(rows.sum(1), torch.ones(len(rows), dtype=rows.dtype))
        assert mask is None or not rows[:, ~mask].any()
    # One similarity of 1, the others 0: a row is p, q, q, … with p / q = exp(1 / τ)
    own = targets.tempered(torch.eye(n, dtype=torch.float64), effective)
    p, q = float(own[0, 0]), float(own[0, 1])
    assert p + (n - 1) * q == pytest.approx(1)
    entropy = -p * math.log(p) - (n - 1) * q * math.log(q)
    assert entropy == pytest.approx(math.log(effective), rel=1e-5)
    equal = targets.tempered(guide @ guide.t(), 1e6)  # more than there are rows
    torch.testing.assert_close(equal, torch.full_like(equal, 1 / n), rtol=0, atol=1e-4)


def test_permuting_the_batch_permutes_nothing_else() -> None:
    settings_ = objective(targets="both", reverse_guide="skeleton")
    module, (features, concepts) = heads(), batch()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(5))
    values, grads = [], []
    for rows in (torch.arange(N), order):
        x = features[rows].clone().requires_grad_()
        seen = view(module, x, {"language": concepts["language"][rows]})
        loss, _ = c2vl_loss(settings_, module, seen, alpha=0.6)
        loss.backward()
        values.append(loss.item())
        grads.append(x.grad)
    assert values[0] == pytest.approx(values[1], abs=1e-9)
    torch.testing.assert_close(grads[0][order], grads[1])


def test_minimum_is_the_targets_entropy() -> None:
    """L is CE, so it is bounded by the entropy of T and reaches it where p = T."""
    b = functional.normalize(torch.randn(N, D, dtype=torch.float64))
    module = heads()
    seen = View({"language": b}, {"language": b})  # z = m: then p = softmax(<m, m>/τ) = Q_intra
    settings_ = objective(targets="intra", temperature_intra=0.2)
    loss, _ = c2vl_loss(settings_, module, seen, alpha=1.0)
    t = targets.intra(b, 0.2)
    assert loss.item() == pytest.approx(float(-(t * t.log()).sum(1).mean()), abs=1e-9)


def test_teacher_replaces_the_models_own_prediction() -> None:
    module, (features, concepts) = heads(), batch()
    student = view(module, features, concepts)
    teacher = view(module, features + 1, concepts)
    settings_ = objective(targets="inter")
    own, _ = c2vl_loss(settings_, module, student, alpha=0.5)
    taught, _ = c2vl_loss(settings_, module, student, alpha=0.5, teacher=teacher)
    assert abs(own.item() - taught.item()) > 1e-3


def test_temperature_is_learnt_and_kept_above_its_floor() -> None:
    module = heads(learn_temperature=True, temperature=0.012)
    seen = view(module, *batch())
    loss, _ = c2vl_loss(objective(), module, seen, alpha=0.0)
    loss.backward()
    value = module.log_temperature["skeleton_language"]
    assert value.grad is not None and float(value.grad) != 0
    with torch.no_grad():
        value.fill_(math.log(1e-4))
    assert float(module.temperature("skeleton_language")) == pytest.approx(0.01)
    for floor in (0.01, 0.05, 0.07, 0.1, 0.3):
        module = heads(learn_temperature=True, temperature=floor / 2, floor=floor).float()
        module.keep_floor()
        tau = module.temperature("skeleton_language")
        assert float(tau.detach()) == pytest.approx(floor)
        tau.backward()  # type: ignore[no-untyped-call]
        value = module.log_temperature["skeleton_language"]
        assert value.grad is not None and float(value.grad) > 0, "it may leave the floor again"


def test_vision_language_edge_moves_only_the_adapters() -> None:
    module = heads(("language", "vision"), adapter=True)
    weights = {"skeleton_language": 1e-9, "vision_language": 1.0}
    seen = view(module, *batch(("language", "vision")))
    _, parts = c2vl_loss(objective(weights=weights), module, seen, alpha=0.0)
    parts["vision_language"].backward()
    assert all(np.abs(a.weight.grad.numpy()).max() > 0 for a in module.adapters.values())
    assert all(m.weight.grad is None for m in module.maps.values())


@pytest.mark.parametrize("kind", ["hard", "both"])
@pytest.mark.parametrize("consistency", ["swapped", "cross"])
def test_masked_rows_take_no_part_in_an_edge(kind: str, consistency: str) -> None:
    """A batch in which some lack a modality: each edge equals that of the rows that have it."""
    modalities = ("language", "vision")
    module, (features, concepts) = heads(modalities, adapter=True), batch(modalities)
    has = {"vision": torch.tensor([True, False, True, True, False, True, True])}
    concepts["vision"][~has["vision"]] = 0
    settings = objective(targets=kind, consistency=consistency, weights=BOTH)
    features.requires_grad_()
    masked, parts = c2vl_loss(settings, module, view(module, features, concepts, has), alpha=0.6)
    masked.backward()
    assert features.grad is not None and torch.isfinite(features.grad).all()
    some = has["vision"]
    rows = {name: values[some] for name, values in concepts.items()}
    _, alone = c2vl_loss(settings, module, view(module, features[some], rows), alpha=0.6)
    _, whole = c2vl_loss(settings, module, view(module, features, concepts), alpha=0.6)
    for edge in ("skeleton_vision", "vision_language"):
        torch.testing.assert_close(parts[edge], alone[edge])
    taught = kind == "both" and consistency == "cross"  # then language needs its teacher, vision
    wanted = alone if taught else whole
    torch.testing.assert_close(parts["skeleton_language"], wanted["skeleton_language"])


def test_an_edge_that_nobody_has_is_zero_and_harmless() -> None:
    module, (features, concepts) = heads(("language", "vision")), batch(("language", "vision"))
    has = {"vision": torch.zeros(N, dtype=torch.bool)}
    settings = objective(weights={"skeleton_language": 1.0, "skeleton_vision": 1.0})
    loss, parts = c2vl_loss(settings, module, view(module, features, concepts, has), alpha=0.5)
    loss.backward()
    assert float(parts["skeleton_vision"]) == 0 and float(parts["skeleton_language"]) > 0
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_disentangled_negatives_in_closed_form(alpha: float) -> None:
    """The pair's own entry is in neither target nor prediction of the softened part."""
    features, concepts = batch()
    module = heads()
    student = view(module, features, concepts)
    settings_ = objective(targets="intra", temperature_intra=0.3, disentangle=True)
    found, _ = c2vl_loss(settings_, module, student, alpha=alpha)
    a, b = (one.detach().numpy() for one in student.ends("skeleton_language"))
    soft, logits = reference.softmax(b @ b.T / 0.3), a @ b.T / 0.2
    expected = 0.0
    for own in (logits, logits.T):
        for i in range(N):
            others = [j for j in range(N) if j != i]
            total = sum(math.exp(own[i, j]) for j in others)
            mass = sum(soft[i, j] for j in others)
            pair = math.log(total + math.exp(own[i, i])) - own[i, i]
            rest = -sum(soft[i, j] / mass * (own[i, j] - math.log(total)) for j in others)
            expected += ((1 - alpha) * pair + alpha * rest) / (2 * N)
    assert float(found.detach()) == pytest.approx(expected, abs=1e-6)
    # Rows without concepts change nothing.
    has = {"language": torch.arange(N) < N - 2}
    some = c2vl_loss(settings_, module, view(module, features, concepts, has), alpha=alpha)[0]
    few = view(module, features[: N - 2], {"language": concepts["language"][: N - 2]})
    assert float(some.detach()) == pytest.approx(
        float(c2vl_loss(settings_, module, few, alpha=alpha)[0].detach()), abs=1e-6
    )
