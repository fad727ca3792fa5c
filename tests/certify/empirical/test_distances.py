"""Minimal distances: exact on linear models, failures as infinity, the curve of one run."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from certify.attacks import DDN, FMN, PGD
from certify.deterministic import CROWN
from certify.empirical import Distances, distances, tightness
from certify.empirical.trials import Trials
from certify.errors import UsageError
from certify.threat import Linf
from tests.certify.toys import mlp, model_of, normal, right_answers, uniform

ROW = normal(4, seed=3)


def halves(z: Tensor) -> Tensor:
    side = (z - 0.5) @ ROW.to(z.dtype)
    return torch.stack([side, torch.zeros_like(side)], dim=1)


MODEL = model_of(halves, (4,), 2)


@pytest.mark.parametrize(("norm", "dual"), [(2, 2), (math.inf, 1)])
def test_distances_of_a_linear_model_are_exact(norm: float, dual: float) -> None:
    x = uniform(6, 4, seed=1)
    y = right_answers(MODEL, x)
    exact = ((x - 0.5) @ ROW).abs() / torch.linalg.vector_norm(ROW, ord=dual)
    found = distances(MODEL, x, y, norm, [FMN(), FMN(steps=5)])
    assert found.success_rate() == 1
    assert (found.best >= exact - 1e-12).all()
    torch.testing.assert_close(found.best, exact, rtol=0.02, atol=1e-6)
    away = torch.linalg.vector_norm((found.points - x).flatten(1), ord=norm, dim=1)
    torch.testing.assert_close(found.best, away, rtol=0, atol=1e-12)
    outputs = halves(found.points)
    own, other = outputs.gather(1, y[:, None]), outputs.gather(1, 1 - y[:, None])
    assert (own - other <= 1e-12).all()  # a tie is a failure, and here the nearest one
    assert torch.equal(found.best, found.distance.amin(0))
    assert found.mean() <= min(found.mean(0), found.mean(1))
    assert f"minimal L{norm:g} distances of 6 of 6" in str(found)


def test_a_wrong_sample_is_at_distance_zero_and_a_failure_at_infinity() -> None:
    x, y = uniform(3, 4, seed=1), torch.tensor([0, 0, 1])

    def constant(z: Tensor) -> Tensor:
        return 0 * z[:, :2] + torch.tensor([1.0, 0.0])

    found = distances(model_of(constant, (4,), 2), x, y, 2, [DDN(steps=10), FMN(steps=10)])
    assert found.distance.tolist() == [[math.inf, math.inf, 0.0]] * 2
    assert not found.trials.found.any()
    assert torch.equal(found.points, x)
    assert found.trials.right.tolist() == [True, True, False]


def made(values: list[list[float]], right: list[bool]) -> Distances:
    """Distances as they are given."""
    distance = torch.tensor(values, dtype=torch.float64)
    n, some = len(right), torch.zeros(len(values), len(right), dtype=torch.long)
    names = tuple(f"attack {i}" for i in range(len(values)))
    points = torch.zeros(len(values), n, 1)
    tried = Trials(
        names,
        tuple(range(n)),
        points[0],
        torch.tensor(right),
        distance.isfinite(),
        points,
        some,
        some,
        some.double(),
    )
    return Distances("toy", "0" * 64, 2, distance, tried)


def test_figures_are_over_the_samples_that_were_right() -> None:
    found = made([[1.0, math.inf, 0.0, 3.0], [2.0, 5.0, 0.0, math.inf]], [True, True, False, True])
    assert found.best.tolist() == [1.0, 5.0, 0.0, 3.0]
    assert found.mean() == 3
    assert found.mean(0) == math.inf
    assert (found.median(), found.median(0), found.median(1)) == (3, 3, 5)
    assert [found.quantile(q, 0) for q in (0.3, 0.6, 0.7, 1)] == [1, 3, math.inf, math.inf]
    assert (found.success_rate(), found.success_rate(0)) == (1, pytest.approx(2 / 3))
    assert found.curve((0, 0.99, 1, 3, 5)) == (3 / 4, 3 / 4, 2 / 4, 1 / 4, 0)
    with pytest.raises(UsageError, match="share in"):
        found.quantile(0)
    with pytest.raises(UsageError, match="wrong on every sample"):
        made([[0.0]], [False]).mean()


def test_the_curve_of_one_run_is_what_attacks_at_each_budget_find() -> None:
    model, x = mlp((2, 16, 16, 3), valid=(0.0, 1.0)), uniform(20, 2, seed=5)
    y = right_answers(model, x)
    found = distances(model, x, y, math.inf, [FMN()])
    for eps, share in zip((0.05, 0.1, 0.2), found.curve((0.05, 0.1, 0.2)), strict=True):
        region = Linf(eps).around(x, (0.0, 1.0))
        inside = region.contains(found.points) & (found.best <= eps)
        assert share == (20 - int(inside.sum())) / 20


def test_tightness_is_between_zero_and_one_where_both_speak() -> None:
    both = tightness(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([2.0, 1.0, 1.0]))
    assert both.tolist() == [0, 0.5, 1]
    with pytest.raises(UsageError, match="3 certified radii for 2"):
        tightness(torch.zeros(3), torch.zeros(2))


@pytest.mark.parametrize(
    ("norm", "attack", "match"), [(3, FMN(), "norm is 3"), (2, PGD(), "given region"), (2, CROWN(), "region")]
)
def test_what_measures_no_distance_is_refused(norm: float, attack: FMN, match: str) -> None:
    x = uniform(2, 4, seed=1)
    with pytest.raises(UsageError, match=match):
        distances(MODEL, x, right_answers(MODEL, x), norm, [attack])
