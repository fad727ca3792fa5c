"""The positive controls: naive gradients fail on them, and the house's attacks do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import bounds
from certify.attacks import PGD, EoT, FiniteDifferences
from certify.decide import evaluate
from certify.defences import (
    ABSTAINS,
    JPEG,
    BitDepth,
    LowConfidence,
    MajorityVote,
    Median,
    Squeezing,
    Temperature,
)
from certify.evidence import Decider
from certify.model import Model
from certify.run import Run
from certify.threat import Linf
from certify.verdict import Verdict
from tests.certify.defences import controls

EPS = 0.2
N = 40
PLAIN = PGD(20)
RUN = Run(batch_size=N)


def accuracies(model: Model, attack: Decider, n: int = N, eps: float = EPS) -> tuple[float, float]:
    """The share of the first digits that the model gets right, and that it keeps under attack."""
    x, y = controls.digits()
    result = evaluate(model, x[:n], y[:n], Linf(eps), [attack], run=RUN)
    return result.clean_accuracy, result.robust_accuracy[1]


def naive_pgd(model: Model, n: int = N) -> float:
    """Robust accuracy under the textbook's PGD: the sign of the gradient of the softmax cross-entropy."""
    x, y = controls.digits()
    x, y = x[:n], y[:n]
    points = x.clone()
    for _ in range(20):
        leaf = points.requires_grad_()
        loss = nn.functional.cross_entropy(model(leaf), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, leaf)
        points = (points.detach() + 0.05 * gradient.sign()).clamp(x - EPS, x + EPS).clamp(0, 1)
    with torch.no_grad():
        return float((model(points).argmax(1) == y).float().mean())


def test_the_distilled_model_is_broken_as_its_base_is() -> None:
    model = controls.distilled()
    clean, kept = accuracies(model, PLAIN)
    assert naive_pgd(model) >= clean - 0.1
    assert clean >= 0.95
    assert kept == accuracies(controls.base(), PLAIN)[1] <= 0.15


def test_the_compressed_model_is_broken() -> None:
    clean, kept = accuracies(controls.compressed(), PLAIN)
    assert accuracies(controls.shattered(JPEG(30)), PLAIN) == (clean, clean)
    assert clean >= 0.95
    assert kept <= 0.2


@pytest.mark.parametrize("transform", [BitDepth(2), Median(3)], ids=repr)
def test_other_transforms_are_broken(transform: BitDepth | Median) -> None:
    clean, kept = accuracies(transform.around(controls.base()), PLAIN)
    assert accuracies(controls.shattered(transform), PLAIN)[1] >= clean - 0.1
    assert clean >= 0.8
    assert kept <= 0.1


def test_k_winners_take_all_is_broken_by_differences() -> None:
    """Its gradients ignore that the winners change (Tramer et al. 2020)."""
    model = controls.winners()
    clean, kept = accuracies(model, FiniteDifferences(PLAIN, EPS), n=30)
    assert clean >= 0.6
    assert naive_pgd(model, n=30) >= clean - 0.4
    assert accuracies(model, PLAIN, n=30)[1] >= 0.2
    assert kept <= 0.05


def test_differences_break_what_has_no_gradient_at_all() -> None:
    model = controls.shattered(BitDepth(2))
    assert accuracies(model, FiniteDifferences(PLAIN, EPS), n=10)[1] <= 0.2


def test_the_noisy_model_is_broken_by_the_mean_of_its_draws() -> None:
    """A few draws are less than many, and the gradient without noise leads nowhere."""
    model, n = controls.noisy(), 16
    x, y = controls.digits()
    x, y = x[:n], y[:n]
    clean, kept = accuracies(model, EoT(PLAIN, m=32), n)
    assert clean >= 0.9
    assert kept <= 0.4
    assert accuracies(model, EoT(PLAIN, m=1), n)[1] >= 0.8
    spec = bounds.margins(y, 10)
    without_noise = PGD(20).falsify  # the attacks' driver on the base model
    moved = torch.stack(
        [_moved(without_noise, model.base.forward, x[i : i + 1], spec[torch.tensor([i])]) for i in range(n)]
    )
    p_values = model.p_values(moved, y, range(n), RUN, "naive")
    assert sum(p <= 1e-3 for p in p_values) <= n / 4


def _moved(falsify, forward, x: Tensor, spec: bounds.Spec) -> Tensor:
    found = falsify(forward, Linf(EPS).around(x, controls.UNIT), spec, RUN)
    return x[0] if found is None else found


def test_a_vote_of_models_is_broken_through_their_probabilities() -> None:
    base = controls.base()
    members = [transform.around(base) for transform in (JPEG(30), BitDepth(2), Temperature(0.001))]
    clean, kept = accuracies(MajorityVote().of(*members), PLAIN)
    assert clean >= 0.9
    assert kept <= 0.15


@pytest.mark.parametrize(
    "detector", [LowConfidence(0.9), Squeezing((JPEG(20),), 0.15)], ids=lambda d: type(d).__name__
)
def test_detectors_are_evaded(detector: LowConfidence | Squeezing) -> None:
    """Most of what attacks on the classifier alone find is caught; the joint one is accepted and wrong.

    Over five seeds, for a single run of 40 images may catch anything from half to four in five.
    """
    x, y = controls.digits()
    x, y = x[:N], y[:N]
    base = controls.base()
    model = detector.around(base)
    found = accepted = fooled = 0
    for seed in range(5):
        run = replace(RUN, seed=seed)
        alone = [each for each in evaluate(base, x, y, Linf(EPS), [PLAIN], run=run).samples if each.by]
        points = torch.stack([each.witness for each in alone if each.witness is not None])
        predicted, _ = model.predictions(points, y[: len(points)], range(len(points)), run)
        found, accepted = found + len(points), accepted + int((predicted != ABSTAINS).sum())

        result = evaluate(model, x, y, Linf(EPS), [PLAIN], run=run)
        assert result.clean_accuracy >= 0.9
        broken = [each for each in result.samples if each.verdict is Verdict.FALSIFIED]
        points = torch.stack([each.witness for each in broken if each.witness is not None])
        for each, row in zip(broken, model(points), strict=True):
            assert row.argmax() not in (each.label, base.num_classes)
        fooled += len(broken)
    assert accepted <= 0.4 * found
    assert fooled >= max(0.5 * 5 * N, 2 * accepted)
