"""Affine steps, however their arguments lie in memory, against sums written out."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds.proof.basics import Array
from bounds.proof.steps import Convolution, Dense


def _written_out(step: Convolution, groups: int) -> Array:
    """The matrix of a convolution, (outputs, inputs), one entry after the other."""
    given_groups, outs, ins, *kernel = step.weight.shape
    sizes = groups, outs, *step.out_size, groups, ins, *step.size
    matrix = np.zeros(sizes)
    for g, o, i in product(range(groups), range(outs), range(ins)):
        for pixel in np.ndindex(*step.out_size):
            for tap in np.ndindex(*kernel):
                axes = zip(pixel, tap, step.strides, step.dilations, step.pads, strict=True)
                at = tuple(s * p + d * k - before for p, k, s, d, (before, _) in axes)
                if all(0 <= a < n for a, n in zip(at, step.size, strict=True)):
                    matrix[(g, o, *pixel, g, i, *at)] += step.weight[(g % given_groups, o, i, *tap)]
    half = 2 + len(kernel)
    return matrix.reshape(int(np.prod(sizes[:half])), -1)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Convolution, int]:
    """With small whole numbers, so that sums are exact; and how many groups of channels.

    Half of them are without borders, where few results are gone through one by one.
    """
    axes, groups = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    numbers = st.tuples(*[st.integers(1, 4)] * axes)
    borders = st.tuples(*[st.integers(0, draw(st.sampled_from([0, 4])))] * axes)
    kernel, strides, dilations = (draw(numbers) for _ in range(3))
    pads = tuple(zip(draw(borders), draw(borders), strict=True))
    firsts = draw(st.tuples(*[st.integers(1, 8)] * axes))  # where a window may start, with borders
    ends = zip(firsts, kernel, dilations, pads, strict=True)
    size = tuple(max(1, n + d * (k - 1) - sum(pad)) for n, k, d, pad in ends)
    shape = (draw(st.sampled_from([1, groups])), *draw(st.tuples(*[st.integers(1, 5)] * 2)), *kernel)
    seed = np.random.default_rng(draw(st.integers(0, 9999)))
    weight = seed.integers(-5, 6, shape).astype(float)
    step = Convolution(weight=weight, size=size, strides=strides, dilations=dilations, pads=pads)
    return step, groups


@settings(max_examples=150, deadline=None)
@given(case=convolutions(), samples=st.integers(1, 3), beside=st.booleans(), seed=st.integers(0, 9999))
def test_convolutions(case: tuple[Convolution, int], samples: int, beside: bool, seed: int) -> None:
    step, groups = case
    matrix, rng = _written_out(step, groups), np.random.default_rng(seed)
    x, rows = (rng.integers(-9, 10, (samples, n)).astype(float) for n in matrix.shape[::-1])
    rows *= (np.arange(rows.shape[1]) // np.prod(step.out_size) % step.weight.shape[1]) % 3 == seed % 3
    if beside:
        x, rows = np.asfortranarray(x), np.asfortranarray(rows)
    assert np.array_equal(step.linear(x), x @ matrix.T)
    assert np.array_equal(step.adjoint(rows), rows @ matrix)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("share", [0.2, 1.0])
def test_matrices_on_groups(order: str, share: float) -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-5, 6, (8, 3)).astype(float)
    step, matrix = Dense(weight=weight), np.kron(np.eye(2), weight)
    x, rows = rng.integers(-9, 10, (4, 6)).astype(float), rng.integers(-9, 10, (4, 16)).astype(float)
    rows *= np.tile(rng.random(8) < share, 2)
    assert np.array_equal(step.linear(np.asarray(x, order=order)), x @ matrix.T)
    assert np.array_equal(step.adjoint(np.asarray(rows, order=order)), rows @ matrix)
