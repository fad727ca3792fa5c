"""Attacks on models that answer by sampling: expectation over transformation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

import bounds
from certify.attacks.base import Found, Look, Problem, RegionAttack
from certify.binomial import check_alpha
from certify.errors import UsageError
from certify.evidence import NONFINITE, Claim, Evidence
from certify.query import Query
from certify.run import Run
from certify.sampled import Sampled

_ROWS = 1024  # draws per pass; it changes no result
_GAP = 4.0  # between the two largest logits at the start, on average, once they are scaled
_LEAD = 1.0  # log odds by which a sample is lost before its search ends


@dataclass(frozen=True, eq=False, kw_only=True)
class Expected(Problem):
    """A problem whose outputs are the log of the mean softmax of ``m`` fresh draws of logits / ``scale``.

    The draws are keyed by the sample and the number of passes it has seen. scale: (batch,), which makes the
    search blind to the scale of the logits: at another one the softmax of a draw would have no gradient.
    """

    model: Sampled
    m: int
    scale: Tensor

    def look(self, points: Tensor) -> Look:
        """Evaluate the model by m draws; gradients are recorded for the points."""
        stages = [f"{self.key}, pass {self.tally.forwards[sample]}" for sample in self.samples]
        leaf = points.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.model.draws(leaf, self.samples, self.m, self.run, stages)
            outputs = (logits / self.scale.view(-1, 1, 1)).log_softmax(2).logsumexp(1) - math.log(self.m)
            values = self.spec.clauses(self.spec.evaluate(outputs))
        copies = self.samples * self.m
        self.tally.looked(copies)
        return Look(leaf, values, copies, self.tally)

    def __getitem__(self, keep: Tensor) -> Expected:
        part = super().__getitem__(keep)
        object.__setattr__(part, "scale", self.scale[keep])
        return part


@dataclass(frozen=True)
class EoT:
    """An attack through the mean over ``m`` fresh draws per step (Athalye, Engstrom, Ilyas & Kwok 2018).

    attack: any that searches a region, such as ``PGD(40)``. The mean of the probabilities is taken inside the
    logarithm.
    No sample leaves the search at a lucky draw: another class must be ahead by a factor of e in the mean. The
    best point seen is voted on by other draws, and it is a candidate unless the label leads by more than
    three standard deviations of a tie. Whether the label is lost there, the model's own test says
    (``Sampled.p_values``), by noise that the search has not seen; alpha is the test's level per sample.
    Raises ``UsageError`` for a value outside its domain.
    """

    attack: RegionAttack
    m: int = 16
    alpha: float = 1e-3

    def __post_init__(self) -> None:
        if self.m < 1:
            raise UsageError(f"m of EoT is {self.m}; give an integer >= 1")
        check_alpha(self.alpha)

    @property
    def claims(self) -> frozenset[Claim]:
        """It finds counterexamples; finding none says nothing."""
        return frozenset({Claim.FALSIFIED})

    def supports(self, query: Query) -> str | None:
        """None for a model that answers by sampling and whose draws have gradients, else the reason."""
        model = query.model
        if not isinstance(model, Sampled):
            return f"{model.name} does not answer by sampling; attack it with {self.attack!r}"
        leaf = query.x[:1].detach().requires_grad_()
        with torch.enable_grad():
            if model.draws(leaf, query.samples[:1], 1, Run(device=str(leaf.device)), [""]).requires_grad:
                return None
        return f"{model.name} gives no gradient for its input; attack a differentiable model"

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """A candidate for each sample where the label may be lost; ``alpha`` is the level of its test."""
        return [evidence for part in self._parts(query) for evidence in self._decide(part, run)]

    def _parts(self, query: Query) -> Iterator[Query]:
        index = torch.arange(len(query.x), device=query.x.device)
        rows = max(1, _ROWS // self.m)
        return (query[index // rows == part] for part in range(-(-len(query.x) // rows)))

    def _decide(self, query: Query, run: Run) -> list[Evidence]:
        problem = self._problem(query, run)
        found = self.attack.find(problem)
        lead, n0 = self._lead(problem, found, query.y.cpu())
        facts = zip(
            query.samples,
            found.points,
            lead.tolist(),
            found.deciding.tolist(),
            found.nonfinite.tolist(),
            strict=True,
        )
        return [
            Evidence(
                sample,
                repr(self),
                witness=point if ahead >= -3 * math.sqrt(n0) else None,
                alpha=self.alpha,
                detail={
                    "lead": ahead,
                    "n0": n0,
                    "smallest_margin": value - _LEAD,
                    **problem.tally.detail(sample),
                    **({NONFINITE: 1} if nonfinite else {}),
                },
                seconds=problem.tally.seconds.get(sample, 0.0),
            )
            for sample, point, ahead, value, nonfinite in facts
        ]

    def _problem(self, query: Query, run: Run) -> Expected:
        model = query.model
        if not isinstance(model, Sampled):
            raise UsageError(f"{self!r} cannot answer: {self.supports(query)}")
        spec = query.spec.to(query.x.dtype).on(query.x.device)
        ahead = bounds.Spec(spec.matrix, spec.offset + _LEAD, spec.clause)
        with torch.no_grad():
            stages = [f"{self!r}, scale"] * len(query.x)
            logits = model.draws(query.x, query.samples, self.m, run, stages)
        two = logits.topk(2, dim=2).values
        gap = (two[:, :, 0] - two[:, :, 1]).mean(1)
        least = logits.abs().amax(dim=(1, 2)) * torch.finfo(gap.dtype).eps + torch.finfo(gap.dtype).tiny
        scale = (gap / _GAP).maximum(least).nan_to_num(1.0, posinf=1.0)
        return Expected(
            model,
            query.region,
            ahead,
            query.x,
            query.samples,
            repr(self),
            run,
            model=model,
            m=self.m,
            scale=scale,
        )

    def _lead(self, problem: Expected, found: Found, labels: Tensor) -> tuple[Tensor, int]:
        """The votes by which the best other class is ahead of the label, (batch,), and how many were cast."""
        model = problem.model
        votes = model.votes(found.points, problem.samples, problem.run, f"{self!r}, vote")
        own = votes.gather(1, labels[:, None])[:, 0]
        return votes.scatter(1, labels[:, None], -1).max(1).values - own, model.n0
