"""What must never be done to a bound breaks its coverage, exactly; what the modes do instead does not."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom

from certify.smoothing.intervals import lower_bounds
from certify.smoothing.laws import NoiseLaw
from certify.smoothing.modes import Ask, Estimation, Fixed, Mode
from certify.smoothing.modes.base import ESTIMATION
from certify.smoothing.modes.fixed import concluded
from certify.smoothing.modes.mixture import lower_sequence
from certify.smoothing.modes.planned import PILOT
from certify.smoothing.modes.stopping import StopTable, acceptance
from tests.certify.smoothing.modes.driving import LAW, misses, outcomes

ALPHA = 0.05


def chance_to_exceed(bounds: list[np.ndarray], looks: np.ndarray, p: float) -> float:
    """The chance that a bound, by hits, exceeds p at any look."""
    accept = np.array([int(np.argmax(np.append(b, 2.0) > p)) for b in bounds])
    table = StopTable(looks, accept, np.full(len(looks), -1))
    early, ends = acceptance(table, p)
    return early + float(ends[accept[-1] :].sum())


@pytest.fixture(scope="module")
def bounds_at_looks():
    """After every tenth draw, of every count: Clopper-Pearson's bounds, and those of the sequence."""
    looks = np.arange(10, 401, 10)
    peeked = [lower_bounds(np.arange(n + 1), n, ALPHA) for n in looks.tolist()]
    sequence = [np.array([lower_sequence(h, n, ALPHA) for h in range(n + 1)]) for n in looks.tolist()[:20]]
    return looks, peeked, sequence


@pytest.mark.parametrize("p", [0.5, 0.8, 0.95])
def test_looking_repeatedly(p, bounds_at_looks):
    """Clopper-Pearson at 40 looks fails far more often than it says; the confidence sequence does not."""
    looks, peeked, sequence = bounds_at_looks
    assert chance_to_exceed(peeked, looks, p) > 2.5 * ALPHA
    assert chance_to_exceed(peeked[-1:], looks[-1:], p) <= ALPHA
    assert chance_to_exceed(sequence, looks[:20], p) <= ALPHA


@dataclass(frozen=True)
class Piloted:
    """A pilot that looks good is followed by few draws, another one by more; ``reuse`` counts it, too."""

    reuse: bool

    name = "piloted"
    continuable = False

    def estimate(self, law: NoiseLaw, alpha: float, selected: int) -> Estimation:
        votes = yield Ask(PILOT, 20)
        pilot = int(votes[selected])
        more = 5 if pilot >= 15 else 20
        votes = yield Ask(ESTIMATION, more)
        hits, n = int(votes[selected]), more
        if self.reuse:
            hits, n = hits + pilot, n + 20
        return concluded(law, float(lower_bounds(np.array([hits]), n, alpha)[0]), hits, n)


def test_reusing_the_pilot():
    """The worst chance over p exceeds alpha when the pilot counts as estimation, and else does not."""
    assert max(misses(Piloted(reuse=True), ALPHA).values()) > Fraction(ALPHA) * Fraction(115, 100)
    assert max(misses(Piloted(reuse=False), ALPHA).values()) <= Fraction(ALPHA)


def test_skipping_the_selection():
    """The class with most of the estimation's own votes, of two that tie, is overrated by twice alpha."""
    n = 100
    bounds = {o.hits[0]: o.estimate.p_lower for o in outcomes(Fixed(n), ALPHA)}
    half = Fraction(1, 2)
    chances = {o.hits[0]: o.chance(half) for o in outcomes(Fixed(n), ALPHA)}
    skipped = sum(chance for hits, chance in chances.items() if bounds[max(hits, n - hits)] > 0.5)
    selected = sum(chance for hits, chance in chances.items() if bounds[hits] > 0.5)
    assert selected <= Fraction(ALPHA)
    assert skipped == 2 * selected
    assert skipped > Fraction(ALPHA) * Fraction(15, 10)


def test_skipping_the_selection_among_many():
    """Of ten classes at one tenth, by simulation: the winner's bound is wrong far more often than alpha."""
    votes = np.random.default_rng(0).multinomial(200, [0.1] * 10, size=5000)
    bounds = lower_bounds(np.arange(201), 200, ALPHA)
    assert (bounds[votes.max(1)] > 0.1).mean() > 4 * ALPHA
    assert binom.cdf((bounds[votes[:, 3]] > 0.1).sum(), 5000, ALPHA) < 0.999


def test_the_test_modes_follow_the_protocol():
    mode: Mode = Piloted(reuse=False)
    assert sum(o.chance(Fraction(1, 3)) for o in outcomes(mode, ALPHA, LAW)) == 1
