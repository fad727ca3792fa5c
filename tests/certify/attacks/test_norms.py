"""Norm facts of attacks against independent solvers."""

from __future__ import annotations

import math

import pytest
import torch

import bounds
from certify.attacks.norms import directions, distance, nearest_plane, project, size, to_plane
from tests.certify.attacks.oracles import linear, linear_distance
from tests.certify.toys import normal, uniform

NORMS = [1, 2, math.inf]


@pytest.mark.parametrize("norm", NORMS)
def test_projection_is_that_of_the_engine_per_sample(norm: float) -> None:
    step, radius = normal(6, 2, 4, seed=1), torch.tensor([0.0, 1e-6, 0.3, 1.0, 3.0, 100.0])
    found = project(step, radius, norm)
    for one, eps, got in zip(step, radius.tolist(), found, strict=True):
        ball = bounds.Ball(torch.zeros_like(one)[None], eps, norm)
        torch.testing.assert_close(got, ball.project(one[None])[0], rtol=1e-9, atol=1e-12)


def test_projection_of_norm_0_keeps_the_largest_elements() -> None:
    step = torch.tensor([[3.0, -1.0, 0.5, -4.0], [1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 0.0, 0.0]])
    kept = project(step, torch.tensor([2.9, 1.0, 3.0]), 0)
    assert kept[0].tolist() == [3.0, 0.0, 0.0, -4.0]
    assert kept[1].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert kept[2].tolist() == step[2].tolist()


@pytest.mark.parametrize("norm", NORMS)
def test_the_way_to_a_plane_in_a_box_is_the_shortest(norm: float) -> None:
    _, weight, x, y = linear(2)
    rows = (weight[1] - weight[0]) * torch.where(y == 0, 1.0, -1.0)[:, None]
    gap = -(rows * (x - 0.5)).sum(1)
    step = to_plane(rows, gap, -x, 1 - x, norm)
    torch.testing.assert_close((rows * step).sum(1), gap)
    assert ((x + step >= 0) & (x + step <= 1)).all()
    exact = linear_distance(weight, x, y, norm, clip=True)
    torch.testing.assert_close(size(step, norm), exact, rtol=1e-9, atol=1e-12)
    assert (step.abs() == torch.where(step > 0, 1 - x, x)).any()  # the box was in the way
    back = to_plane(rows, -gap, x - 1, x, norm)
    torch.testing.assert_close(back, -step)


@pytest.mark.parametrize("norm", NORMS)
def test_a_plane_out_of_reach_and_a_plane_without_a_gradient(norm: float) -> None:
    rows = torch.tensor([[1.0, -2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    step = to_plane(rows, torch.tensor([100.0, 1.0, math.inf]), -torch.ones(3, 3), torch.ones(3, 3), norm)
    assert step.tolist() == [[1.0, -1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_directions_do_not_depend_on_scale(scale: float) -> None:
    gradient = normal(4, 5, seed=2, dtype=torch.float32)
    torch.testing.assert_close(directions(gradient * scale), gradient / gradient.norm(dim=1, keepdim=True))
    assert (directions(torch.zeros(2, 3)) == 0).all()


def test_nearest_plane_is_by_the_dual_norm_and_ignores_flat_ones() -> None:
    rows = torch.tensor([[[3.0, 4.0], [0.0, 6.0], [0.0, 0.0]]])
    values = torch.tensor([[1.0, 1.1, 0.1]])
    picks = {norm: int(nearest_plane(rows, values, norm)) for norm in (1, 2, math.inf)}
    assert picks == {1: 1, 2: 1, math.inf: 0}


def test_distance_counts_in_float64() -> None:
    delta = uniform(3, 2, 2, seed=3).float()
    assert distance(delta, 2).dtype is torch.float64
    assert distance(torch.tensor([[0.0, 1e-30, -2.0]]), 0).tolist() == [2.0]
    assert distance(torch.zeros(2, 0), 2).tolist() == [0.0, 0.0]
