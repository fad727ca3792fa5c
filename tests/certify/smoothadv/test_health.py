"""The check of the attack itself: it sees that too few draws make a model look robust."""

import pytest
import torch

from certify.attacks import PGD
from certify.errors import UsageError
from certify.smoothadv import SmoothAdv, health
from certify.threat import L2
from tests.certify.smoothadv.models import ripples, smoothed

X = torch.stack([torch.linspace(0.2, 0.3, 12), torch.linspace(-2, 2, 12)], dim=1)
Y = torch.ones(12, dtype=torch.int64)


def test_waves_that_noise_averages_away_mislead_few_draws_and_none():
    found = health(SmoothAdv(PGD(steps=8, restarts=2), m=2), smoothed(ripples), X, Y, L2(0.4), many=400)
    base, single, many = found.others
    assert len(many.found) == 12
    assert len(base.found) < 8
    assert len(single.found) < 8
    assert found.stronger is many
    assert "too weak: 400 draws" in str(found)
    assert "raise m" in str(found)


def test_enough_draws_are_healthy():
    found = health(SmoothAdv(PGD(steps=8), m=100), smoothed(ripples), X, Y, L2(0.4), many=400)
    assert found.stronger is None
    assert "broken of 12 samples" in str(found)
    assert "weak" not in str(found)


def test_needs_more_draws_to_compare_with():
    with pytest.raises(UsageError, match="many is 8"):
        health(SmoothAdv(m=8), smoothed(), X, Y, L2(0.4), many=8)
