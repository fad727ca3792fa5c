"""Is the radius larger than r: as few draws as the answer needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

import numpy as np

from certify.binomial import check_alpha
from certify.errors import UsageError
from certify.smoothing.laws.base import NoiseLaw
from certify.smoothing.modes.base import ESTIMATION, Ask, Estimation
from certify.smoothing.modes.fixed import check_draws, concluded
from certify.smoothing.modes.stopping import StopTable, stop_table

# What the error account of the tables is made for.
_MOST = 10**8


@dataclass(frozen=True)
class Decide:
    """Tests whether the certified radius exceeds ``radius``, and stops as soon as that is settled.

    With p the least probability from which the law's radius follows, it tests "the probability is below p"
    sequentially (see ``stopping``): wrong with chance at most alpha however long it runs. A certificate is
    just beyond ``radius``, whatever more the input could have got. At most ``n_max`` draws; it gives up early
    where a fixed test of that many would succeed with a chance of no more than about ``futility``.
    Raises ``UsageError`` unless radius is finite and > 0, n_max in [1, 10^8] and futility in (0, 1); and at
    the first estimate where n_max draws can never certify the radius.
    """

    radius: float
    n_max: int = 100_000
    futility: float = 1e-3

    name: ClassVar[str] = "decide"
    continuable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_radii((self.radius,))
        check_sequential(self.n_max, self.futility)
        object.__setattr__(self, "radius", float(self.radius))  # 1 and 1.0 have one repr

    def estimate(self, law: NoiseLaw, alpha: float, selected: int) -> Estimation:
        return gatekept(law, alpha, selected, (self.radius,), self.n_max, self.futility)


def gatekept(
    law: NoiseLaw, alpha: float, selected: int, radii: tuple[float, ...], n_max: int, futility: float
) -> Estimation:
    """The largest of the rising ``radii`` that is accepted together with all smaller ones.

    One stream of draws serves all tests, each with its own table; each is settled by the first look at which
    its table accepts or gives up. It ends when the smallest radius that is not accepted is given up.
    """
    tests = reachable(law, alpha, radii, n_max, futility)
    looks = tests[0][1].looks
    accept = np.array([table.accept for _, table in tests])
    give_up = np.array([table.give_up for _, table in tests])
    settled = np.zeros(len(tests), dtype=np.int64)  # 1 accepted, -1 given up
    hits = n = passed = 0
    for k, look in enumerate(looks.tolist()):
        votes = yield Ask(ESTIMATION, look - n)
        hits, n = hits + int(votes[selected]), look
        now = np.where(hits >= accept[:, k], 1, np.where(hits <= give_up[:, k], -1, 0))
        settled = np.where(settled == 0, now, settled)
        passed = int(np.argmin(np.append(settled == 1, False)))
        if passed == len(tests) or settled[passed] == -1:
            break
    return concluded(law, tests[passed - 1][0] if passed else 0.0, hits, n)


def reachable(
    law: NoiseLaw, alpha: float, radii: tuple[float, ...], n_max: int, futility: float
) -> list[tuple[float, StopTable]]:
    """Per radius in reach the probability it needs and its table; ``UsageError`` where there is none."""
    tests = []
    for radius in radii:
        p = needed_probability(law, radius)
        table = None if p is None else stop_table(p, alpha, n_max, futility)
        if p is None or table is None or not table.can_accept:
            break
        tests.append((p, table))
    if not tests:
        raise UsageError(
            f"{n_max} draws never certify a radius > {radii[0]:g} under {law!r} at alpha = {alpha:g}; "
            f"raise n_max or the scale of the noise, or ask for a smaller radius"
        )
    return tests


@lru_cache(maxsize=1024)
def needed_probability(law: NoiseLaw, radius: float) -> float | None:
    """The least float p in (0, 1) found at which the law's radius, rounded down, exceeds ``radius``.

    None where every p is too small for it.
    """
    low, high = 0.0, math.nextafter(1.0, 0.0)
    if not concluded(law, high, 0, 0).radius > radius:
        return None
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return high
        enough = concluded(law, middle, 0, 0).radius > radius
        low, high = (low, middle) if enough else (middle, high)


def check_radii(radii: tuple[float, ...]) -> None:
    """Refuse radii that are not finite, > 0 and rising."""
    if not radii or not all(math.isfinite(r) and r > 0 for r in radii):
        raise UsageError(f"radii are finite numbers > 0 in input units, not {list(radii)}")
    if any(b <= a for a, b in pairwise(radii)):
        raise UsageError(f"the radii {list(radii)} do not rise; sort them and leave out repeats")


def check_sequential(n_max: int, futility: float) -> None:
    """Refuse a limit of draws or a futility level outside its domain."""
    check_draws("n_max", n_max)
    if n_max > _MOST:
        raise UsageError(f"n_max is {n_max}; give at most {_MOST}")
    try:
        check_alpha(futility)
    except UsageError:
        raise UsageError(f"futility is {futility}; give a probability between 0 and 1") from None
