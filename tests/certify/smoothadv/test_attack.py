"""The attack on the smoothed classifier: finds what is there, and calls nothing found that is not."""

import dataclasses
import math

import pytest
import torch

from certify.attacks import PGD
from certify.decide import evaluate
from certify.errors import StatisticalContradiction, UsageError
from certify.evidence import Claim, Evidence
from certify.noise import Draws, stream_key
from certify.query import Query
from certify.run import Run
from certify.smoothadv import SmoothAdv
from certify.smoothadv.gradient import MeanSoftmax
from certify.smoothing import DiscreteGaussian, Smoothed, Smoothing
from certify.threat import L2, Linf
from certify.verdict import Verdict
from tests.certify.smoothadv.models import SIGMA, slope, smoothed
from tests.certify.smoothing.models import halfspace, model_of

G = smoothed()
X = torch.tensor([[0.2, 0.1], [0.7, -0.2], [-0.3, 0.0], [-1.2, 0.5]])
Y = torch.tensor([1, 1, 0, 0])
IDS = (2, 7, 1, 8)
QUICK = SmoothAdv(PGD(steps=8), m=8)


def test_the_gradient_is_that_of_the_mean_over_the_draws():
    x = X[1:2].double().requires_grad_()
    forward = MeanSoftmax(G, 5, (7,), Run(), "here")
    (found,) = torch.autograd.grad(forward(x)[0, 0] - forward(x)[0, 1], x)
    noise = Draws(stream_key(0, repr(G.law), 7, "here"), 0, 5, x.device, x.dtype).normal((2,)) * SIGMA
    z = x.detach().clone().requires_grad_()
    mean = slope(z + noise).softmax(1).mean(0)
    (expected,) = torch.autograd.grad(mean[0].log() - mean[1].log(), z)
    torch.testing.assert_close(found, expected)


def test_breaks_exactly_the_samples_that_the_region_reaches():
    found = QUICK.attack(G, X, Y, L2(0.5), samples=IDS)
    assert found.attacked.tolist() == [True, False, True, False]
    assert (found.p_value[found.attacked] <= 1e-3).all()
    assert (found.distance <= 0.5 * (1 + 1e-6)).all()
    exact = torch.linalg.vector_norm(found.points.double() - X.double(), dim=1)
    assert (found.distance >= exact).all()
    assert (found.distance - exact < 1e-8).all()
    assert torch.equal(found.points[:, 0].sign() != X[:, 0].sign(), found.attacked)


def test_no_noise_of_the_search_enters_the_test():
    seen = QUICK.attack(G, X[:1], Y[:1], L2(0.3), samples=(2,))
    again = G.p_values(seen.points, Y[:1], (2,), Run(), f"test of {QUICK!r}")
    assert seen.p_value.tolist() == again


@pytest.mark.parametrize("threat", [L2(0.5), Linf(0.5)])
def test_batches_company_and_order_change_nothing(threat):
    whole = QUICK.attack(G, X, Y, threat, samples=IDS)
    small = dataclasses.replace(QUICK, batch_size=1)
    assert small == QUICK
    assert torch.equal(small.attack(G, X, Y, threat, samples=IDS).p_value, whole.p_value)
    turned = QUICK.attack(G, X.flip(0), Y.flip(0), threat, samples=IDS[::-1])
    torch.testing.assert_close(turned.points.flip(0), whole.points)
    other = QUICK.attack(G, X, Y, threat, Run(seed=1), samples=IDS)
    assert not torch.equal(other.points, whole.points)


def test_restarts_keep_the_best():
    once, more = QUICK, dataclasses.replace(QUICK, pgd=PGD(steps=2, restarts=3, targets=1))
    for attack in (once, more):
        assert attack.attack(G, X, Y, L2(0.5), samples=IDS).attacked.tolist() == [True, False, True, False]


def test_evaluates_certificates_and_attacks_of_one_model():
    result = evaluate(G, X, Y, L2(0.65), [Smoothing(SIGMA, n=2000), QUICK], samples=IDS)
    verdicts = [each.verdict for each in result.samples]
    assert verdicts == [Verdict.FALSIFIED, Verdict.UNKNOWN, Verdict.FALSIFIED, Verdict.VERIFIED]
    broken = result.samples[0]
    assert broken.by == repr(QUICK)
    assert broken.alpha == 1e-3
    assert broken.witness is not None
    assert broken.evidence[-1].detail["p_value"] <= 1e-3
    assert result.alpha == 1e-3
    wrong = evaluate(G, X, 1 - Y, L2(0.5), [QUICK], samples=IDS)
    assert wrong.counts[Verdict.MISCLASSIFIED] == 4


@dataclasses.dataclass(frozen=True)
class Claims:
    """A decider that brings a given point to every sample."""

    point: tuple[float, float]
    alpha: float
    claims: frozenset[Claim] = frozenset({Claim.FALSIFIED})

    def supports(self, query: Query) -> str | None:
        return None

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        return [
            Evidence(s, repr(self), witness=torch.tensor(self.point), alpha=self.alpha) for s in query.samples
        ]


@pytest.mark.parametrize(
    ("point", "alpha", "accepted"),
    [
        ((-0.2, 0.0), 1e-3, True),
        ((0.001, 0.0), 1e-3, False),  # the label holds, though barely
        ((-0.9, 0.0), 1e-3, False),  # the label is lost, but outside the region
        ((-0.2, 0.0), 0.0, False),  # no finite number of draws is certain
    ],
)
def test_witnesses_are_judged_by_draws_of_the_judge(point, alpha, accepted):
    result = evaluate(G, X[:1], Y[:1], L2(0.5), [Claims(point, alpha)])
    assert (result.samples[0].verdict is Verdict.FALSIFIED) == accepted
    assert ("replay" in result.samples[0].evidence[0].detail) != accepted


@dataclasses.dataclass(frozen=True)
class Overclaims:
    """A certifier that is wrong, at confidence 0.99."""

    claims: frozenset[Claim] = frozenset({Claim.ROBUST})

    def supports(self, query: Query) -> str | None:
        return None

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        return [Evidence(s, repr(self), margin=1.0, alpha=0.01) for s in query.samples]


def test_a_false_certificate_raises_with_the_chance_that_it_is_none():
    with pytest.raises(StatisticalContradiction, match=r"alpha 0\.01 allows") as caught:
        evaluate(G, X, Y, L2(0.5), [Overclaims(), QUICK], samples=IDS)
    assert caught.value.chance == 0.01
    assert caught.value.sample == 2
    assert torch.equal(caught.value.x, X[0])


def test_no_samples_are_no_work():
    assert QUICK.decide(Query(G, X[:0], Y[:0], L2(0.5), ()), Run()) == []


def test_refuses_what_it_cannot_attack():
    plain = model_of(slope)
    for model, reason in (
        (plain, "not smoothed"),
        (Smoothed(model_of(lambda x: x[:, :1], classes=1), G.law), "one class"),
        (Smoothed(model_of(lambda x: halfspace(x.detach())), G.law), "no gradient"),
        (Smoothed(model_of(slope, valid=(0.0, 1.0)), DiscreteGaussian(0.5)), "no gradient"),
    ):
        query = Query(model, torch.zeros(1, 2), torch.tensor([0]), L2(0.1), (0,))
        assert reason in (QUICK.supports(query) or "")
    with pytest.raises(UsageError, match="not smoothed"):
        QUICK.decide(Query(plain, X, Y, L2(0.1), IDS), Run())
    with pytest.raises(UsageError, match="no exact forward pass"):
        evaluate(G, X, Y, L2(0.1), [PGD()])


@pytest.mark.parametrize("bad", [{"m": 0}, {"alpha": 0.0}, {"batch_size": 0}])
def test_refuses_values_outside_their_domain(bad):
    with pytest.raises(UsageError):
        SmoothAdv(**bad)


def test_is_a_value_with_a_telling_repr():
    assert repr(QUICK).startswith("SmoothAdv(pgd=PGD(steps=8")
    assert hash(QUICK) == hash(dataclasses.replace(QUICK))
    assert QUICK.claims == {Claim.FALSIFIED}
    assert math.isclose(QUICK.alpha, 1e-3)
