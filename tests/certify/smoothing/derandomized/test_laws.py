"""Finite laws: how many copies a change really touches, listed."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from certify.errors import UsageError
from certify.smoothing.derandomized import FINITE_LAWS, Bands, Blocks, Splitting
from certify.threat import L0, L1, L2, Linf, Patch, Pixels
from tests.certify.smoothing.conformance import draws

SHAPE = (2, 4, 6)
PATCHES = [
    Bands(1, -1),
    Bands(2, 0.5),
    Bands(5, -1),
    Bands(6, -1),
    Blocks(1, -1),
    Blocks(2, -1),
    Blocks(4, -1),
]


def copies(law, x: Tensor) -> Tensor:
    return law.perturb(x, draws(law.copies(tuple(x.shape)), dtype=x.dtype))


def touched(law, x: Tensor, other: Tensor) -> int:
    return int((copies(law, x) != copies(law, other)).flatten(1).any(1).sum())


def image() -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("law", PATCHES, ids=repr)
@pytest.mark.parametrize("side", [0, 1, 2, 3, 5, 9])
def test_a_patch_changes_as_many_copies_as_stated(law, side):
    x, rows, columns = image(), min(side, SHAPE[1]), min(side, SHAPE[2])
    found = set()
    for i, j in itertools.product(range(SHAPE[1] - rows + 1), range(SHAPE[2] - columns + 1)):
        other = x.clone()
        other[:, i : i + rows, j : j + columns] += 1
        found.add(touched(law, x, other))
    assert max(found) == law.changed(Patch(side), SHAPE)


@pytest.mark.parametrize("law", PATCHES, ids=repr)
@pytest.mark.parametrize(("threat", "channels"), [(L0, 1), (Pixels, 2)])
def test_pixels_change_as_many_copies_as_stated(law, threat, channels):
    x, places = image(), list(itertools.product(range(SHAPE[1]), range(SHAPE[2])))
    for n in (1, 2):
        found = set()
        for chosen in itertools.combinations(places, n):
            other = x.clone()
            for i, j in chosen:
                other[:channels, i, j] += 1
            found.add(touched(law, x, other))
        assert max(found) <= law.changed(threat(n), SHAPE)
        assert n == 2 or found == {law.changed(threat(1), SHAPE)}


@pytest.mark.parametrize("law", [*PATCHES, Splitting(7)], ids=repr)
def test_reach_is_the_largest_budget(law):
    for changes in range(law.copies(SHAPE)):
        reach = law.reach(changes, SHAPE)
        if isinstance(law, Splitting):
            assert Fraction(reach) <= Fraction(changes, 255) < Fraction(reach) + Fraction(1, 10**15)
        else:
            assert law.changed(Patch(reach), SHAPE) <= changes
            assert law.changed(Patch(reach + 1), SHAPE) > changes or reach == max(SHAPE[1:])


def test_bands_and_blocks_keep_what_they_say():
    x = image()
    band = copies(Bands(2, -1), x)[5]  # columns 5 and 0
    assert torch.equal(band[:, :, [0, 5]], x[:, :, [0, 5]])
    assert (band[:, :, 1:5] == -1).all()
    block = copies(Blocks(2, -1), x)[3 * 6 + 5]  # rows 3 and 0, columns 5 and 0
    assert torch.equal(block[:, [0, 0, 3, 3], [0, 5, 0, 5]], x[:, [0, 0, 3, 3], [0, 5, 0, 5]])
    assert int((block != -1).sum()) == 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("splits", [1, 3, 64, 255, 300])
def test_numbers_are_split_as_often_as_they_are_apart(dtype, splits):
    """All pairs of 8-bit numbers: in min(splits, distance) copies, where no end of the range is cut."""
    law, grid = Splitting(splits), (torch.arange(256, dtype=dtype) / 255)
    values = torch.stack([copies(law, v.view(1))[:, 0] for v in grid], dim=1)  # (splits, 256)
    differ = (values[:, :, None] != values[:, None, :]).sum(0)
    apart = (torch.arange(256)[:, None] - torch.arange(256)).abs().clamp(max=splits)
    assert (differ <= apart).all()
    assert torch.equal(differ, apart)
    assert values.min() >= 0
    assert values.max() <= 1


def test_middles_follow_the_paper():
    """The paper's formula in exact fractions, with the offsets taken from where the law itself cuts."""
    law, x = Splitting(40, seed=3), torch.tensor([0, 17, 128, 255], dtype=torch.float64) / 255
    offsets = law._offsets(x).tolist()
    width = Fraction(40, 255)
    for number, copy in enumerate(copies(law, x)):
        for v, offset, k in zip(copy.tolist(), offsets, (0, 17, 128, 255), strict=True):
            cut = Fraction(2 * ((number + offset) % 40) + 1, 2 * 255)
            upper = width * math.ceil((Fraction(k, 255) - cut) / width) + cut
            middle = (min(upper, Fraction(1)) + max(upper - width, Fraction(0))) / 2
            assert v == pytest.approx(float(middle), abs=1e-15)


def test_l1_changes_bound_random_pairs():
    law, generator = Splitting(50, seed=1), torch.Generator().manual_seed(0)
    for _ in range(50):
        k = torch.randint(0, 256, (2, 5), generator=generator)
        k[1] = (k[0] + torch.randint(-6, 7, (5,), generator=generator)).clamp(0, 255)
        a, b = (each.float() / 255 for each in k)
        apart = int((k[0] - k[1]).abs().sum())
        assert touched(law, a, b) <= apart
        assert apart == 0 or law.reach(apart - 1, (5,)) < apart / 255


def test_other_threats_are_refused():
    for threat in (L1(0.1), L2(0.1), Linf(0.0), Patch(1)):  # they reach inputs between the levels
        assert Splitting(9).changed(threat, (1, 4, 4)) is None
    assert Bands(1, 0).changed(L1(0.1), SHAPE) is None
    assert Blocks(1, 0).changed(L2(0.1), SHAPE) is None


def test_seeds_cut_elsewhere():
    x = torch.full((8,), 0.2)
    assert Splitting(100, 1) != Splitting(100, 2)
    x = (x * 255).round() / 255
    assert not torch.equal(copies(Splitting(100, 1), x), copies(Splitting(100, 2), x))
    assert torch.equal(copies(Splitting(100, 1), x), copies(Splitting(100, 1), x))
    assert Splitting(51).lam == 0.1


@pytest.mark.parametrize("law", [Bands(2, -1), Blocks(2, -1), Splitting(30)], ids=repr)
def test_any_range_of_copies_can_be_had_by_itself(law):
    x = (image() * 255).round() / 255
    assert type(law) in FINITE_LAWS.values()
    assert "Levine & Feizi" in law.reference
    assert law.domain == ("8-bit images" if isinstance(law, Splitting) else "images of any numbers")
    whole, n = copies(law, x), law.copies(SHAPE)
    assert torch.equal(law.perturb(x, draws(n - 2, first=2)), whole[2:])
    assert torch.equal(law.perturb(x, draws(2 * n)), torch.cat([whole, whole]))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Bands(0, 0.0), "width is 0"),
        (lambda: Bands(1.5, 0.0), "width"),
        (lambda: Bands(1, math.inf), "null"),
        (lambda: Blocks(-1, 0.0), "size"),
        (lambda: Blocks(1, math.nan), "null"),
        (lambda: Splitting(0), "splits is 0"),
        (lambda: Splitting(9.0), "splits"),
        (lambda: Splitting(9, -1), "seed"),
        (lambda: Bands(7, 0.0).copies(SHAPE), "give at most 6"),
        (lambda: Blocks(5, 0.0).copies(SHAPE), "give at most 4"),
        (lambda: Bands(1, 0.0).copies((9,)), "about images"),
        (lambda: copies(Splitting(9), torch.tensor([0.3])), "8-bit images"),
        (lambda: copies(Splitting(9), torch.tensor([2.0])), "8-bit images"),
    ],
)
def test_values_outside_their_domain(make, match):
    with pytest.raises(UsageError, match=match):
        make()


@pytest.mark.parametrize("law", [Bands(2, -1), Blocks(1, -1), Blocks(2, -1), Blocks(4, -1)], ids=repr)
@pytest.mark.parametrize("shape", [(4, 6), (2, 4, 6), (2, 3, 4, 6)])
def test_a_pixel_has_all_channels_whatever_axis_they_are(law, shape):
    """The first axis holds the channels: of inputs with two axes, a pixel is a whole column."""
    x = torch.zeros(shape)
    middle = [1] * (len(shape) - 2)
    for threat, channels in ((Pixels(1), slice(None)), (L0(1), 0)):
        other = x.clone()
        other[(channels, *middle, 2)] = 1
        assert threat.around(x[None], (0.0, 1.0)).contains(other[None]).all()
        assert touched(law, x, other) <= (law.changed(threat, shape) or 0)
