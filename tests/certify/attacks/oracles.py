"""True minimal distances: of linear models exactly, of small networks on a grid."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import bounds
from certify.attacks.minimal import DistanceAttack, Nearest, nearby
from certify.model import Model
from certify.query import Query
from certify.run import Run
from certify.threat import L0, L1, L2, Budgeted, Linf
from tests.certify.toys import model_of, normal, right_answers, uniform

BUDGETS: dict[float, Budgeted] = {0: L0(1), 1: L1(0.4), 2: L2(0.3), math.inf: Linf(0.2)}


def minimum(attack: DistanceAttack, model: Model, x: Tensor, y: Tensor, norm: float) -> Nearest:
    """The nearest failures that an attack finds."""
    query = Query(model, x, y, BUDGETS[norm], tuple(range(len(x))))
    return attack.find(nearby(query, norm, repr(attack), Run()))


def linear(
    classes: int, d: int = 6, valid: tuple[float, float] | None = (0.0, 1.0), n: int = 8, scale: float = 1.0
) -> tuple[Model, Tensor, Tensor, Tensor]:
    """A random linear model, its weight (classes, d), inputs in [0, 1] and their labels."""
    weight = scale * normal(classes, d, seed=11)
    model = model_of(lambda z: (z - 0.5) @ weight.to(z.dtype).T, (d,), classes, valid)
    x = uniform(n, d, seed=12)
    return model, weight, x, right_answers(model, x)


def linear_distance(weight: Tensor, x: Tensor, y: Tensor, norm: float, clip: bool) -> Tensor:
    """The exact minimal distances for ``linear``: the least over the other classes, (batch,)."""
    best = []
    for point, label in zip(x, y.tolist(), strict=True):
        rows = torch.cat([weight[:label], weight[label + 1 :]]) - weight[label]
        gaps = -rows @ (point - 0.5)
        best.append(min(_one(row, gap, point, norm, clip) for row, gap in zip(rows, gaps, strict=True)))
    return torch.tensor(best, dtype=torch.float64)


def _one(row: Tensor, gap: Tensor, point: Tensor, norm: float, clip: bool) -> float:
    """The least radius whose ball (in the cube, if ``clip``) has a step with ``row . step >= gap``."""
    if norm == 0:
        gains = torch.where(row > 0, row * (1 - point), -row * point).sort(descending=True).values
        return float((gains.cumsum(0) < gap).sum() + 1) if gains.sum() >= gap else math.inf
    if not clip:
        return float(gap / torch.linalg.vector_norm(row, ord={1: math.inf, 2: 2, math.inf: 1}[norm]))
    low, high = 0.0, float(len(point))
    inside = (0.0, 1.0)

    def reaches(eps: float) -> bool:
        ball = bounds.Ball(point[None], eps, norm, inside)
        return bool(ball.support(row[None, None], torch.tensor([0]))[0, 0] - row @ point >= gap)

    if not reaches(high):
        return math.inf
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def grid_distance(model: Model, x: Tensor, y: Tensor, norm: float, steps: int = 401) -> Tensor:
    """The distance of the nearest failing point on a grid of the unit square: at least the true minimum."""
    t = torch.linspace(0, 1, steps, dtype=x.dtype)
    points = torch.cartesian_prod(t, t)
    wrong = model(points).argmax(1)[None] != y[:, None]
    away = torch.linalg.vector_norm(points[None] - x[:, None], ord=norm, dim=2)
    return away.masked_fill(~wrong, math.inf).min(1).values
