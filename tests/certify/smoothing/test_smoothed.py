"""The smoothed model's own answers: predictions by vote, and tests whose errors are as rare as they say."""

import math

import pytest
import torch
from scipy.stats import binom

from certify.binomial import binomial_tail
from certify.errors import UsageError
from certify.run import Run
from certify.smoothing import Gaussian, Smoothed
from tests.certify.smoothing.models import halfspace, model_of, thirds

G = Smoothed(model_of(halfspace), Gaussian(0.5), n0=40, n=300)
X = torch.tensor([[0.8, 0.0], [0.2, 0.0], [-0.2, 0.3], [-0.8, 0.0]])
IDS = (3, 1, 4, 15)


@pytest.mark.parametrize(
    ("k", "n", "p"), [(0, 0, 0.5), (0, 9, 0.5), (7, 9, 0.5), (9, 9, 0.25), (60, 100, 0.5)]
)
def test_binomial_tail_is_the_tail_rounded_up(k, n, p):
    exact = sum(math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k, n + 1))
    assert exact <= binomial_tail(k, n, p) <= exact * (1 + 1e-12)


def test_binomial_tail_far_out():
    assert math.isclose(binomial_tail(9000, 10_000, 0.5), binom.sf(8999, 10_000, 0.5), abs_tol=1e-300)
    assert binomial_tail(9000, 10_000, 0.5) > 0
    with pytest.raises(UsageError, match="successes"):
        binomial_tail(3, 2, 0.5)


def test_predictions_are_the_votes_and_a_tie_is_not_right():
    predicted, right = G.predictions(X, torch.tensor([1, 0, 0, 0]), IDS, Run())
    assert predicted.tolist() == [1, 1, 0, 0]
    assert right.tolist() == [True, False, True, True]
    votes = G.votes(X, IDS, Run(), "prediction")
    assert votes.sum(1).tolist() == [40] * 4
    constant = Smoothed(model_of(lambda x: torch.ones(len(x), 2)), Gaussian(0.5), n0=7)
    assert constant.predictions(X[:1], torch.tensor([0]), (0,), Run())[1].tolist() == [True]
    even = Smoothed(model_of(halfspace), Gaussian(0.5), n0=2)
    tied = [even.votes(torch.zeros(1, 2), (s,), Run(), "prediction").tolist() == [[1, 1]] for s in range(30)]
    assert any(tied)
    for sample, tie in enumerate(tied):
        if tie:
            for label in (0, 1):
                zero, y = torch.zeros(1, 2), torch.tensor([label])
                assert not even.predictions(zero, y, (sample,), Run())[1].any()


def test_p_values_are_binomial_tails_of_fresh_votes():
    p = G.p_values(X, torch.tensor([0, 0, 1, 0]), IDS, Run(), "a")
    assert p == G.p_values(X, torch.tensor([0, 0, 1, 0]), IDS, Run(), "a")
    assert p != G.p_values(X, torch.tensor([0, 0, 1, 0]), IDS, Run(), "b")
    assert p[0] < 1e-20
    assert max(p[1:3]) < 1e-3
    assert p[3] > 0.999


def test_p_values_do_not_depend_on_company():
    y = torch.tensor([0, 0, 1, 0])
    whole = G.p_values(X, y, IDS, Run(), "a")
    assert [G.p_values(X[i : i + 1], y[i : i + 1], IDS[i : i + 1], Run(), "a")[0] for i in range(4)] == whole


def test_the_test_errs_as_rarely_as_it_says_where_all_classes_are_level():
    """At the corner of three equal classes a rival that the tested draws chose would be favoured."""

    def even(x):
        angle = torch.atan2(x[:, 1], x[:, 0])
        sector = ((angle + math.pi) / (2 * math.pi / 3)).long().clamp(max=2)
        return torch.nn.functional.one_hot(sector, 3).float()

    g = Smoothed(model_of(even, classes=3), Gaussian(1.0), n0=10, n=100)
    count = 600
    x, y = torch.zeros(count, 2), torch.zeros(count, dtype=torch.int64)
    p = torch.tensor(g.p_values(x, y, range(count), Run(), "level"))
    for alpha in (0.05, 0.2):
        allowed = binom.isf(1e-6, count, alpha)
        assert int((p <= alpha).sum()) <= allowed
    assert int((p <= 0.2).sum()) > 0.05 * count  # and it has power: not all of them are 1


def test_answers_need_a_model_that_can_be_sampled():
    with pytest.raises(UsageError, match="n0 is 0"):
        Smoothed(model_of(halfspace), Gaussian(0.5), n0=0)
    with pytest.raises(UsageError, match="logits, not 2"):
        Smoothed(model_of(thirds), Gaussian(0.5)).predictions(X[:1], torch.tensor([0]), (0,), Run())
    one = Smoothed(model_of(lambda x: torch.ones(len(x), 1), classes=1), Gaussian(0.5), n0=5, n=5)
    assert one.p_values(X[:1], torch.tensor([0]), (0,), Run(), "a") == [1.0]
    assert one.predictions(X[:1], torch.tensor([0]), (0,), Run())[1].tolist() == [True]
    assert G.to("cpu").digest == G.digest
