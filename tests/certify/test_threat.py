"""Threats: what they reach, and that larger budgets reach more."""

from __future__ import annotations

import math

import pytest
import torch

import bounds
from certify.errors import UsageError
from certify.threat import L0, L1, L2, THREATS, Linf, Patch, Pixels, Threat
from tests.certify.toys import uniform

VALID = (0.0, 1.0)


def images() -> torch.Tensor:
    return uniform(2, 3, 4, 5, seed=1)


def changed(threat: Threat) -> torch.Tensor:
    """Which elements differ after the threat has done its worst to a random linear function."""
    x = images()
    region = threat.around(x, VALID)
    z = region.argmax(uniform(2, 3, 4, 5, seed=2) - 0.5)
    assert region.contains(z).all()
    return z != x


def test_l0_changes_that_many_elements() -> None:
    assert changed(L0(7)).flatten(1).sum(1).tolist() == [7, 7]


def test_pixels_change_in_all_channels() -> None:
    mask = changed(Pixels(4))
    assert mask.flatten(1).sum(1).tolist() == [12, 12]
    assert mask.any(1).flatten(1).sum(1).tolist() == [4, 4]


def test_a_patch_is_one_square() -> None:
    for mask in changed(Patch(3)).any(1):
        rows, columns = mask.nonzero().unbind(1)
        assert mask.sum() == 9
        assert rows.max() - rows.min() == columns.max() - columns.min() == 2


def test_a_patch_larger_than_the_image_is_all_of_it() -> None:
    assert changed(Patch(5)).all()
    assert Patch(5).around(images(), VALID).is_box


@pytest.mark.parametrize("kind", THREATS.values())
def test_budgets_are_nested_and_zero_is_the_input(kind: type[Linf]) -> None:
    x, threat = images(), kind(2)
    assert threat.at(3) == kind(3.0)
    assert threat.around(x, VALID)[torch.tensor([0])].contains(x[:1]).all()
    still = threat.at(0).around(x, VALID).box()
    assert (still.lower == x).all()
    assert (still.upper == x).all()
    small, large = (threat.at(eps).around(x, VALID) for eps in (1, 2))
    for seed in range(5):
        z = small.argmax(uniform(2, 3, 4, 5, seed=seed) - 0.5)
        assert large.contains(z).all()


@pytest.mark.parametrize("kind", THREATS.values())
@pytest.mark.parametrize("eps", [-1, math.nan, math.inf])
def test_budgets_that_mean_nothing_are_refused(kind: type[Linf], eps: float) -> None:
    with pytest.raises(UsageError, match="eps is"):
        kind(eps)


@pytest.mark.parametrize("kind", [L0, Pixels, Patch])
def test_counted_threats_need_a_whole_number_and_a_range(kind: type[L0]) -> None:
    with pytest.raises(UsageError, match="whole number"):
        kind(0.5)
    assert repr(kind(3)) == repr(kind(3.0))  # one identity for one threat
    with pytest.raises(UsageError, match="no input range"):
        kind(1).around(images(), None)


@pytest.mark.parametrize("kind", [Pixels, Patch])
def test_threats_to_images_need_images(kind: type[Pixels]) -> None:
    with pytest.raises(UsageError, match="about images"):
        kind(1).around(torch.zeros(2, 9), VALID)


def test_norm_balls_stay_what_they_were() -> None:
    x = images()
    for threat, norm in ((Linf(0.1), math.inf), (L2(0.1), 2), (L1(0.1), 1)):
        region = threat.around(x, VALID)
        assert isinstance(region, bounds.Ball)
        assert (region.norm, region.eps, region.clip) == (norm, 0.1, VALID)
