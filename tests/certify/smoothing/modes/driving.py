"""Modes driven without a classifier: by all possible votes, or by votes from known probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from certify.smoothing import Gaussian
from certify.smoothing.laws import NoiseLaw
from certify.smoothing.modes import Ask, Estimate, Mode

LAW = Gaussian(1.0)


@dataclass(frozen=True)
class Outcome:
    """What a mode concludes when its asks get these hits, of a class against one other."""

    asks: tuple[Ask, ...]
    hits: tuple[int, ...]
    estimate: Estimate

    def chance(self, p: Fraction) -> Fraction:
        """The exact probability of these hits."""
        terms = (
            math.comb(a.count, h) * p**h * (1 - p) ** (a.count - h)
            for a, h in zip(self.asks, self.hits, strict=True)
        )
        return math.prod(terms, start=Fraction(1))


def outcomes(mode: Mode, alpha: float, law: NoiseLaw = LAW) -> Iterator[Outcome]:
    """All outcomes of a mode that draws few times."""
    open_paths: list[tuple[int, ...]] = [()]
    while open_paths:
        path = open_paths.pop()
        asks, found = replay(mode, alpha, path, law)
        if found is None:
            open_paths += [(*path, hits) for hits in range(asks[-1].count + 1)]
        else:
            yield Outcome(asks, path, found)


def replay(
    mode: Mode, alpha: float, path: Sequence[int], law: NoiseLaw = LAW
) -> tuple[tuple[Ask, ...], Estimate | None]:
    """The asks that follow from these hits of class 1 of 2, and the estimate if they suffice."""
    estimation = mode.estimate(law, alpha, 1)
    asks = [next(estimation)]
    for hits in path:
        try:
            asks.append(estimation.send(np.array([asks[-1].count - hits, hits])))
        except StopIteration as stop:
            return tuple(asks), stop.value
    return tuple(asks), None


def drive(
    mode: Mode,
    probabilities: Sequence[float],
    rng: np.random.Generator,
    alpha: float = 1e-3,
    law: NoiseLaw = LAW,
) -> Estimate:
    """One estimate for class 0 of votes with these probabilities."""
    estimation = mode.estimate(law, alpha, 0)
    ask = next(estimation)
    while True:
        try:
            ask = estimation.send(rng.multinomial(ask.count, probabilities))
        except StopIteration as stop:
            found: Estimate = stop.value
            return found


def misses(mode: Mode, alpha: float, law: NoiseLaw = LAW) -> dict[Fraction, Fraction]:
    """The exact chance of a p_lower above p, by p: on a grid, and where it is greatest."""
    all_outcomes = list(outcomes(mode, alpha, law))
    bounds = sorted({Fraction(o.estimate.p_lower) for o in all_outcomes} - {Fraction(0)})
    grid = [Fraction(i, 20) for i in range(1, 20)] + [b - Fraction(1, 2**70) for b in bounds]
    return {
        p: sum((o.chance(p) for o in all_outcomes if Fraction(o.estimate.p_lower) > p), Fraction(0))
        for p in grid
    }
