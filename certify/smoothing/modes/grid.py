"""A whole curve of radii from one stream of draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from certify.smoothing.laws.base import NoiseLaw
from certify.smoothing.modes.base import Estimation
from certify.smoothing.modes.decide import check_radii, check_sequential, gatekept


@dataclass(frozen=True)
class Grid:
    """The largest of the rising ``radii`` that can be certified, each tested as ``Decide`` does.

    A radius is certified only together with all smaller ones, so each test has the full alpha: the smallest
    radius that is not so has a test which accepts it with chance at most alpha, and no larger radius is
    certified unless it is (a fixed sequence of tests; Maurer, Hothorn & Lehmacher 1995). That the tests share
    their draws does not matter, for this event concerns one of them alone, which looks at the stream as it
    would by itself; stopping early for the sake of a smaller radius only takes certificates away.

    Radii that ``n_max`` draws can never certify are left out. Raises ``UsageError`` unless the radii are
    finite, > 0 and rising, n_max in [1, 10^8] and futility in (0, 1); and at the first estimate where none of
    them can be certified.
    """

    radii: tuple[float, ...]
    n_max: int = 100_000
    futility: float = 1e-3

    name: ClassVar[str] = "grid"
    continuable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_radii(tuple(self.radii))
        check_sequential(self.n_max, self.futility)
        object.__setattr__(self, "radii", tuple(float(r) for r in self.radii))

    def estimate(self, law: NoiseLaw, alpha: float, selected: int) -> Estimation:
        return gatekept(law, alpha, selected, self.radii, self.n_max, self.futility)
