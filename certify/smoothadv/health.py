"""Whether an attack on a smoothed classifier draws enough to be called one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from certify.binomial import binomial_tail
from certify.errors import UsageError
from certify.query import Query
from certify.run import Run
from certify.smoothadv.attack import Ascent, SmoothAdv
from certify.smoothing import Smoothed
from certify.threat import Threat

_DEFAULT_RUN = Run()
_LEVEL = 0.05 / 3  # of each of three comparisons


@dataclass(frozen=True)
class Variant:
    """The same attack with another gradient: the samples (rows) where it found a candidate."""

    name: str
    found: frozenset[int]


@dataclass(frozen=True)
class Health:
    """The share of samples that the attack breaks with gradients of more and of fewer draws.

    chosen: the attack as it is; others: with one draw, with the plain gradient of the base model, and with
    many draws. A weak attack makes a model look more robust than it is.
    """

    samples: int
    chosen: Variant
    others: tuple[Variant, ...]

    def p_value(self, other: Variant) -> float:
        """Of the sign test that ``other`` is no stronger: on samples that only one of the two breaks."""
        more, fewer = len(other.found - self.chosen.found), len(self.chosen.found - other.found)
        return binomial_tail(more, more + fewer, 0.5)

    @property
    def stronger(self) -> Variant | None:
        """The strongest variant that breaks significantly more samples (p-value <= 0.05 / 3), if any does."""
        found = [each for each in self.others if self.p_value(each) <= _LEVEL]
        return max(found, key=lambda each: len(each.found), default=None)

    def __str__(self) -> str:
        shares = ", ".join(
            f"{each.name} {100 * len(each.found) / self.samples:.1f}%" for each in (*self.others, self.chosen)
        )
        text = f"broken of {self.samples} samples: {shares}"
        if self.stronger is None:
            return text
        gap = 100 * (len(self.stronger.found) - len(self.chosen.found)) / self.samples
        return f"{text}; too weak: {self.stronger.name} breaks {gap:.1f} points more, raise m"


def health(
    attack: SmoothAdv,
    model: Smoothed,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    many: int,
    run: Run = _DEFAULT_RUN,
    samples: Sequence[int] | None = None,
) -> Health:
    """Repeat an attack on some samples with one draw per step, with ``many``, and without any noise.

    The variants start at the same points. A sample counts as broken where another class leads the vote of
    n0 draws, which is enough to compare them. The cost is about (m + many + 2) / m times the attack's.
    Raises ``UsageError`` for bad inputs, and unless many > m.
    """
    if many <= attack.m:
        raise UsageError(f"many is {many}; give more draws than the attack's own {attack.m}")
    ids = tuple(range(len(x)) if samples is None else samples)
    query = Query(model, x.to(run.device), y.to(run.device), threat, ids)

    def variant(name: str, with_draws: SmoothAdv, ascent: Ascent) -> Variant:
        _, lead = with_draws.search(query, run, ascent)
        return Variant(name, frozenset((lead > 0).nonzero()[:, 0].tolist()))

    single, larger = replace(attack, m=1), replace(attack, m=many)
    return Health(
        len(x),
        variant(f"{attack.m} draws", attack, attack.noisy(run)),
        (
            variant("base gradient", single, lambda query, step: model.base),
            variant("1 draw", single, single.noisy(run)),
            variant(f"{many} draws", larger, larger.noisy(run)),
        ),
    )
