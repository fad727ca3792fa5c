"""Gradients estimated from values, for models whose own gradient misleads."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from certify.attacks.base import Look, Problem, RegionAttack
from certify.defences.bpda import straight_through
from certify.errors import UsageError
from certify.evidence import Claim, Evidence
from certify.noise import Draws, stream_key
from certify.query import Query
from certify.run import Run
from certify.sampled import Sampled

_ROWS = 1024  # points per pass; it changes no result


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimated(Problem):
    """A problem whose values are the model's own and whose gradients come from ``m`` pairs of values.

    The directions are keyed by the sample and the number of passes it has seen.
    """

    sigma: float
    m: int

    def look(self, points: Tensor) -> Look:
        """Evaluate the model at the points and around them."""
        directions = torch.stack(
            [self._directions(*each) for each in zip(points.detach(), self.samples, strict=True)]
        )
        rows = max(1, _ROWS // (2 * self.m))
        with torch.no_grad():
            outputs = self.forward(points)
            slopes = [
                self._slopes(points[first : first + rows], directions[first : first + rows])
                for first in range(0, len(points), rows)
            ]
        leaf = points.detach().requires_grad_()
        with torch.enable_grad():
            linear = torch.einsum("bod,bd->bo", torch.cat(slopes), leaf.flatten(1))
            values = self.spec.clauses(self.spec.evaluate(straight_through(outputs, linear)))
        self.tally.looked(self.samples * (1 + 2 * self.m))
        return Look(leaf, values, self.samples, self.tally)

    def _directions(self, point: Tensor, sample: int) -> Tensor:
        stage = f"pass {self.tally.forwards[sample]}"
        key = stream_key(self.run.seed, self.key, sample, stage)
        return Draws(key, 0, self.m, point.device, point.dtype).normal(tuple(point.shape))

    def _slopes(self, points: Tensor, directions: Tensor) -> Tensor:
        """The estimated Jacobian at each point, (batch, outputs, values of an input)."""
        n = len(points)
        ends = [points[:, None] + sign * self.sigma * directions for sign in (1, -1)]
        above, below = (self.forward(end.flatten(0, 1)).view(n, self.m, -1) for end in ends)
        return torch.einsum("bmo,bmd->bod", above - below, directions.flatten(2)) / (2 * self.m * self.sigma)


@dataclass(frozen=True)
class FiniteDifferences:
    """An attack by estimated gradients: of the model under Gaussian noise, from pairs of its values.

    The mean of ``(f(x + sigma u) - f(x - sigma u)) u / (2 sigma)`` over m normal u, fresh ones at each step
    (Salimans et al. 2017, antithetic). It sees the jumps that a gradient does not, so it breaks what
    shatters gradients, such as k-winners-take-all (Tramer et al. 2020, section 5). The attack's values stay
    the model's own. sigma: in input units, about the radius of the threat.
    Raises ``UsageError`` for a value outside its domain.
    """

    attack: RegionAttack
    sigma: float
    m: int = 32

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise UsageError(f"sigma of FiniteDifferences is {self.sigma}; give a number > 0 in input units")
        if self.m < 1:
            raise UsageError(f"m of FiniteDifferences is {self.m}; give an integer >= 1")

    @property
    def claims(self) -> frozenset[Claim]:
        """It finds counterexamples; finding none says nothing."""
        return frozenset({Claim.FALSIFIED})

    def supports(self, query: Query) -> str | None:
        """None unless the model answers by sampling."""
        if isinstance(query.model, Sampled):
            return f"{query.model.name} answers by sampling; attack it with EoT"
        return None

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """Search each sample's region for another decision; a witness is a candidate to be replayed."""
        spec = query.spec.to(query.x.dtype).on(query.x.device)
        problem = Estimated(
            query.model,
            query.region,
            spec,
            query.x,
            query.samples,
            repr(self),
            run,
            sigma=self.sigma,
            m=self.m,
        )
        return [replace(each, decider=repr(self)) for each in self.attack.answers(problem)]
