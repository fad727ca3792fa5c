"""PGD on the smoothed classifier, whose finds are tested and not believed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from certify.attacks import PGD
from certify.attacks.base import Forward, Problem, no_set
from certify.binomial import check_alpha
from certify.errors import UsageError
from certify.evidence import Claim, Evidence
from certify.query import Query
from certify.run import Run
from certify.smoothadv.gradient import MeanSoftmax
from certify.smoothing import Smoothed
from certify.threat import Threat

_DEFAULT_RUN = Run()
_CUSHION = 1 + 2.0**-30  # a norm of d numbers in float64 is off by at most d * 2^-53, relatively
_PGD = PGD(steps=20)

# Names a step and gives the function whose gradient it follows.
Ascent = Callable[[Query, str], Forward]


@dataclass(frozen=True, eq=False)
class SmoothAdvResult:
    """Per sample the best point that the attack found, and what a test of it says.

    x, points: (batch, *input_shape). distance: (batch,) float64, ||points - x|| in the law's ``norm``,
    rounded up. p_value: (batch,) float64, of the test that g's class at the point is not the label ``y``; 1
    where the search brought no candidate. attacked: (batch,) p_value <= alpha, and inside the region.
    Each sample is called attacked wrongly with probability at most ``alpha``, separately.
    """

    samples: tuple[int, ...]
    x: Tensor
    y: Tensor
    points: Tensor
    distance: Tensor
    p_value: Tensor
    attacked: Tensor
    alpha: float
    attack: str
    law: str
    norm: float


@dataclass(frozen=True)
class SmoothAdv:
    """PGD on the log of the mean softmax over noisy copies (Salman et al. 2019, SmoothAdv-PGD).

    *Provably robust deep learning via adversarially trained smoothed classifiers*. pgd: steps, restarts,
    step sizes and loss, for any region; no sample leaves early, for the value of one step is a lucky draw.
    m: draws per step, fresh ones each time; few of them make a weak attack (see ``health``). alpha: the
    probability, per sample, that a point is called a counterexample and is none. batch_size: rows per forward
    and backward pass; it changes no result.

    The last point of each restart is voted on, and the one where another class leads most is the candidate;
    none where the label is ahead by more than three standard deviations of a tie. Whether the label is lost
    there is for the model's own test to say (``Smoothed.p_values``), by noise that the search has not seen.
    Raises ``UsageError`` for a value outside its domain.
    """

    pgd: PGD = _PGD
    m: int = 32
    alpha: float = 1e-3
    batch_size: int = field(default=1000, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value in (("m", self.m), ("batch_size", self.batch_size)):
            if value < 1:
                raise UsageError(f"{name} of SmoothAdv is {value}; give an integer >= 1")
        check_alpha(self.alpha)

    @property
    def claims(self) -> frozenset[Claim]:
        """It finds counterexamples; finding none says nothing."""
        return frozenset({Claim.FALSIFIED})

    def supports(self, query: Query) -> str | None:
        """None for a smoothed model whose votes can be differentiated by the input, else the reason."""
        model = query.model
        if not isinstance(model, Smoothed):
            return f"{model.name} is not smoothed; attack it with PGD, or ask about Smoothed(model, law)"
        if model.num_classes < 2:
            return f"{model.name} has one class, which cannot be lost"
        if (reason := no_set(query)) is not None:
            return reason
        leaf = query.x[:1].detach().requires_grad_()
        with torch.enable_grad():
            if MeanSoftmax(model, 1, query.samples[:1], Run(), "support")(leaf).requires_grad:
                return None
        return f"{model.name} gives no gradient for its input; take a law of real numbers and a torch model"

    def attack(
        self,
        model: Smoothed,
        x: Tensor,
        y: Tensor,
        threat: Threat,
        run: Run = _DEFAULT_RUN,
        samples: Sequence[int] | None = None,
    ) -> SmoothAdvResult:
        """Attack g at each input and test what was found.

        x: (batch, *input_shape) in input units; y: (batch,) labels; samples: ids that key the noise (default
        0, 1, ...). Raises ``UsageError`` for bad inputs, and for a model that it does not support.
        """
        ids = tuple(range(len(x)) if samples is None else samples)
        query = Query(model, x.to(run.device), y.to(run.device), threat, ids)
        points, leads = self.search(query, run, self.noisy(run))
        p_value = torch.ones(len(x), dtype=torch.float64)
        keep = _close(leads, model.n0)
        if keep.any():
            part = query[keep.to(query.x.device)]
            stage = f"test of {self!r}"
            found = model.p_values(points[keep], part.y, part.samples, run, stage)
            p_value[keep] = torch.tensor(found, dtype=torch.float64)
        return SmoothAdvResult(
            samples=ids,
            x=query.x,
            y=query.y,
            points=points,
            distance=_distance(query.x, points, model.law.norm),
            p_value=p_value,
            attacked=(p_value <= self.alpha) & query.reaches(points, [{}] * len(points)).cpu(),
            alpha=self.alpha,
            attack=repr(self),
            law=repr(model.law),
            norm=model.law.norm,
        )

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """A candidate for each sample where the label may be lost; ``alpha`` is the level of its test."""
        points, leads = self.search(query, run, self.noisy(run))
        model = _smoothed(self, query)
        close = _close(leads, model.n0).tolist()
        distance = _distance(query.x, points, model.law.norm).tolist()
        return [
            Evidence(
                sample,
                repr(self),
                witness=point if candidate else None,
                alpha=self.alpha,
                detail={"lead": lead, "n0": model.n0, "distance": away},
            )
            for sample, point, candidate, lead, away in zip(
                query.samples, points, close, leads.tolist(), distance, strict=True
            )
        ]

    def noisy(self, run: Run) -> Ascent:
        """The ascent on the mean softmax of m draws."""

        def forward(query: Query, step: str) -> Forward:
            return MeanSoftmax(_smoothed(self, query), self.m, query.samples, run, f"{self!r} {step}")

        return forward

    def search(self, query: Query, run: Run, ascent: Ascent) -> tuple[Tensor, Tensor]:
        """The best point found for each sample, by a given ascent, and another class's lead over the label.

        The lead is in votes of n0 draws, int64 (batch,) on the CPU; at most 0 where the label is not behind.
        Raises ``UsageError`` for a query that it does not support.
        """
        if not query.samples:
            return query.x, torch.zeros(0, dtype=torch.int64)
        reason = self.supports(query)
        if reason is not None:
            raise UsageError(f"{self!r} cannot answer: {reason}")
        rows = max(1, self.batch_size // self.m)
        parts = [query[_rows(query, first, first + rows)] for first in range(0, len(query.x), rows)]
        found = [self._search(part, run, ascent) for part in parts]
        return torch.cat([points for points, _ in found]), torch.cat([leads for _, leads in found])

    def _search(self, query: Query, run: Run, ascent: Ascent) -> tuple[Tensor, Tensor]:
        model = _smoothed(self, query)
        best, lead = query.x, torch.full((len(query.x),), -model.n0 - 1)
        for attempt in range(self.pgd.attempts):
            points = self._climb(query, run, ascent, attempt)
            votes = model.votes(points, query.samples, run, f"{self!r} {attempt} vote")
            found = _lead(votes, query.y.cpu())
            better = found > lead
            keep = better.to(points.device).view(-1, *[1] * (points.dim() - 1))
            best, lead = torch.where(keep, points, best), torch.where(better, found, lead)
        return best, lead

    def _climb(self, query: Query, run: Run, ascent: Ascent, attempt: int) -> Tensor:
        """The points where one attempt ends; every step has noise of its own."""
        spec = query.spec.to(query.x.dtype).on(query.x.device)
        start = ascent(query, f"{attempt} start")
        problem = Problem(start, query.region, spec, query.x, query.samples, repr(self.pgd), run)
        state = self.pgd.init(problem, attempt)
        while not self.pgd.done(state):
            problem = replace(problem, forward=ascent(query, f"{attempt} step {state.steps}"))
            state = self.pgd.step(problem, state, problem.look(state.points))
        return state.points.detach()


def _smoothed(attack: SmoothAdv, query: Query) -> Smoothed:
    """The query's model; refused, with the reason, if it is not smoothed."""
    if isinstance(query.model, Smoothed):
        return query.model
    raise UsageError(f"{attack!r} cannot answer: {attack.supports(query)}")


def _rows(query: Query, first: int, last: int) -> Tensor:
    index = torch.arange(len(query.x), device=query.x.device)
    return (first <= index) & (index < last)


def _lead(votes: Tensor, labels: Tensor) -> Tensor:
    """The votes by which the best other class is ahead of the label; (batch,). One class leads nobody."""
    own = votes.gather(1, labels[:, None])[:, 0]
    rivals = votes.scatter(1, labels[:, None], -1).max(1).values
    return torch.where(rivals < 0, -own, rivals - own)


def _close(leads: Tensor, n0: int) -> Tensor:
    """Whether the label's own lead in n0 votes is one that a tie would give; (batch,) booleans."""
    return leads >= -3 * math.sqrt(n0)


def _distance(x: Tensor, points: Tensor, norm: float) -> Tensor:
    """||points - x|| per sample in float64, rounded up; (batch,) on the CPU."""
    delta = (points.double() - x.double()).flatten(1).cpu()
    found: Tensor = torch.linalg.vector_norm(delta, ord=norm, dim=1) * _CUSHION
    return found.nextafter(torch.tensor(math.inf, dtype=torch.float64))
