"""How far the nearest failures are, as found by minimal-distance attacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from certify.attacks.minimal import DistanceAttack, Minimum
from certify.attacks.norms import distance
from certify.empirical.trials import Trials, trials
from certify.errors import UsageError
from certify.model import Model
from certify.run import Run
from certify.threat import L0, L1, L2, Budgeted, Linf

_DEFAULT_RUN = Run()
_BALLS: dict[float, type[Budgeted]] = {0: L0, 1: L1, 2: L2, math.inf: Linf}
_ENDLESS = 2.0**60


@dataclass(frozen=True, eq=False)
class Distances:
    """Per attack and sample the distance of the nearest counterexample found; its print is a table.

    distance: (attacks, n) float64 in ``norm``, of the replayed points as they are; inf where an attack has
    failed (its point is x), 0 where the model is wrong without an attack. Each is an upper bound of the true
    minimal distance.
    """

    model: str
    digest: str
    norm: float
    distance: Tensor
    trials: Trials

    def __len__(self) -> int:
        return len(self.trials.samples)

    @property
    def best(self) -> Tensor:
        """The smallest distance over attacks, (n,)."""
        return self.distance.amin(0)

    @property
    def points(self) -> Tensor:
        """The nearest counterexample over attacks, (n, *shape); x where there is none."""
        return self.trials.points[self.distance.argmin(0), torch.arange(len(self))]

    def success_rate(self, attack: int | None = None) -> float:
        """Share of the samples that were right on which an attack, or any, has found a counterexample."""
        return float(self._asked(attack).isfinite().double().mean())

    def mean(self, attack: int | None = None) -> float:
        """Mean distance over the samples that were right; inf if any has none."""
        return float(self._asked(attack).mean())

    def quantile(self, q: float, attack: int | None = None) -> float:
        """The smallest d such that at least a share q of the samples that were right is within it.

        A failure counts as infinitely far. The median is ``quantile(0.5)`` of an odd number of samples.
        """
        if not 0 < q <= 1:
            raise UsageError(f"q is {q}; give a share in (0, 1]")
        values = self._asked(attack).sort().values
        return float(values[max(math.ceil(q * len(values)) - 1, 0)])

    def median(self, attack: int | None = None) -> float:
        """The middle distance over the samples that were right, failures as infinity."""
        values = self._asked(attack).sort().values
        low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
        return float(low + (high - low) / 2) if bool(high.isfinite()) else math.inf

    def robust_accuracy(self, eps: float) -> float:
        """Share of all samples that are right and have no known counterexample within ``eps``.

        The security curve (Biggio & Roli 2018) at every budget from one run: an upper bound each.
        """
        return int((self.trials.right & (self.best > eps)).sum()) / len(self)

    def curve(self, budgets: Sequence[float]) -> tuple[float, ...]:
        """The robust accuracy at each budget; falls as they grow."""
        return tuple(self.robust_accuracy(eps) for eps in budgets)

    def _asked(self, attack: int | None) -> Tensor:
        """The distances of the samples that were right."""
        if not self.trials.right.any():
            raise UsageError(f"{self.model} is wrong on every sample; there is no distance to tell")
        values = self.best if attack is None else self.distance[attack]
        return values[self.trials.right]

    def __str__(self) -> str:
        t = self.trials
        rows = [
            f"{self.mean(i):8.4f} {self.median(i):8.4f} {self.success_rate(i):8.3f} "
            f"{t.forwards[i][t.right].double().mean():9.1f}  {name}"
            for i, name in enumerate(t.attacks)
        ]
        asked = f"{int(t.right.sum())} of {len(self)} samples"
        head = f"{self.model}: minimal L{self.norm:g} distances of {asked}"
        best = f"{self.mean():8.4f} {self.median():8.4f} {self.success_rate():8.3f}"
        last = f"{best}            the nearest of all"
        return "\n".join([head, "    mean   median  success  forwards  attack", *rows, last])


def distances(
    model: Model,
    x: Tensor,
    y: Tensor,
    norm: float,
    attacks: Sequence[DistanceAttack],
    *,
    run: Run = _DEFAULT_RUN,
    samples: Sequence[int] | None = None,
) -> Distances:
    """Search the nearest counterexample of each sample by every attack.

    x: (n, *input_shape) in input units; y: (n,) labels; norm: 0, 1, 2 or inf. There is no budget: an attack
    that needs one is refused. Raises ``UsageError`` for that, for another norm, and for bad inputs.
    """
    if norm not in _BALLS:
        raise UsageError(f"norm is {norm}; choose 0, 1, 2 or inf")
    for each in attacks:
        if not isinstance(each, DistanceAttack):
            raise UsageError(f"{each!r} searches a given region; measure distances by one such as FMN()")
    tried = trials(model, x, y, _everything(model, x, norm), list(map(Minimum, attacks)), run, samples)
    tried = replace(tried, attacks=tuple(map(repr, attacks)))
    away = torch.stack([distance(points.double() - tried.x.double(), norm) for points in tried.points])
    away = away.masked_fill(~tried.found, math.inf).masked_fill(~tried.right, 0.0)
    return Distances(model.name, model.digest, norm, away, tried)


def _everything(model: Model, x: Tensor, norm: float) -> Budgeted:
    """A ball that holds every valid input."""
    size = x[0].numel() if len(x) else 1
    if model.input_range is None:
        return _BALLS[norm](size if norm == 0 else _ENDLESS)
    width = model.input_range[1] - model.input_range[0]
    widths = {0: float(size), 1: width * size, 2: width * math.sqrt(size), math.inf: width}
    return _BALLS[norm](widths[norm] if norm == 0 else 2 * widths[norm])


def tightness(certified: Tensor, attacked: Tensor) -> Tensor:
    """Certified radius over attack distance, (n,): 1 where both meet, 0 where nothing is certified.

    certified, attacked: (n,), in one norm, of the same samples. The true minimal distance lies between the
    two. NaN where neither says anything: radius 0 and distance 0. Raises ``UsageError`` for shapes that
    differ.
    """
    if certified.shape != attacked.shape:
        raise UsageError(f"{len(certified)} certified radii for {len(attacked)} attack distances")
    return certified.double() / attacked.double()
