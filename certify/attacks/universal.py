"""One perturbation for all samples, found on some and tried on others."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

import bounds
from certify.attacks.base import Found, Problem, RegionAttack, no_set
from certify.attacks.losses import cross_entropy
from certify.errors import UsageError
from certify.model import Model
from certify.query import Query
from certify.run import Run
from certify.threat import Budgeted

_CLIP = 9.0  # the largest loss of a sample, so that no broken one takes all (Shafahi et al. 2020, section 4)
_DEFAULT_RUN = Run()


def digest(values: Tensor) -> str:
    """The first 16 hex digits of the SHA-256 of a tensor's numbers."""
    return hashlib.sha256(values.detach().cpu().double().contiguous().numpy().tobytes()).hexdigest()[:16]


def right_ones(model: Model, x: Tensor, y: Tensor, threat: Budgeted, run: Run) -> Query:
    """The samples that the model gets right; raises ``UsageError`` where there are none."""
    query = Query(model, x.to(run.device), y.to(run.device), threat, tuple(range(len(x))))
    _, right = model.predictions(query.x, query.y, query.samples, run)
    if not right.any():
        raise UsageError(f"{model.name} gets none of the {len(x)} samples right; there is nothing to break")
    return query[right]


def problem_of(query: Query, key: str, run: Run) -> Problem:
    """The search on a query's samples."""
    spec = query.spec.to(query.x.dtype).on(query.x.device)
    return Problem(query.model, query.region, spec, query.x, query.samples, key, run)


def clipped(values: Tensor) -> Tensor:
    """The cross-entropy's stand-in, at most ``_CLIP``."""
    return cross_entropy(values).clamp(max=_CLIP)


@dataclass(frozen=True)
class Universal(RegionAttack):
    """A universal perturbation as an attack: x + delta, moved into the region, is the only candidate.

    source: the ``repr`` of what found it. threat: whose ball it lies in. rate: the share of the samples that
    it was fitted to (those that the model gets right) that it breaks; on held-out samples, ask ``evaluate``.
    delta: (*input_shape); digest: of its numbers.
    """

    source: str
    threat: Budgeted
    rate: float
    digest: str
    delta: Tensor = field(repr=False, compare=False)

    def supports(self, query: Query) -> str | None:
        """None if inputs have the perturbation's shape."""
        if query.x.shape[1:] != self.delta.shape:
            return (
                f"it was found for inputs of shape {tuple(self.delta.shape)}, not {query.model.input_shape}"
            )
        return no_set(query)

    def find(self, problem: Problem) -> Found:
        look = problem.look(problem.region.project(problem.start + self.delta.to(problem.start)))
        every = torch.arange(len(problem.start), device=problem.start.device)
        return Found.nothing(problem).updated(every, look)


@dataclass(frozen=True)
class UniversalPGD:
    """A universal perturbation (Moosavi-Dezfooli et al. 2017) by gradients (Shafahi et al. 2020).

    Ascent on the mean over random minibatches of the cross-entropy, clipped per sample, in steps of the
    ball's steepest direction as in ``PGD``, projected onto the ball; the step shrinks to 0 over all epochs.
    After each epoch all samples are tried, and the delta that breaks most is kept.

    epochs: passes over the samples. batch_size: samples per step. step_size: of the first step, relative to
    the radius. Raises ``UsageError`` for a value outside its domain.
    """

    epochs: int = 50
    batch_size: int = 32
    step_size: float = 0.5

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size) < 1:
            raise UsageError(f"{self!r} makes no step; give epochs >= 1 and batch_size >= 1")
        if not (math.isfinite(self.step_size) and self.step_size > 0):
            raise UsageError(f"step_size of UniversalPGD is {self.step_size}; give a number > 0")

    def fit(self, model: Model, x: Tensor, y: Tensor, threat: Budgeted, run: Run = _DEFAULT_RUN) -> Universal:
        """The perturbation that breaks most of the samples that the model gets right.

        x: (n, *input_shape), y: (n,) labels. threat: a ball of norm 1, 2 or inf. Raises ``UsageError`` for
        another threat, bad inputs, and where the model gets no sample right.
        """
        if threat.norm not in (1, 2, math.inf):
            raise UsageError(f"{threat!r} is no ball of norm 1, 2 or inf; universal patches are by PatchEoT")
        problem = problem_of(right_ones(model, x, y, threat, run), repr(self), run)
        ball = bounds.Ball(torch.zeros_like(problem.start[:1]), threat.eps, norm=threat.norm)
        delta = best = ball.box().centre * 0
        rate, n = self._rate(problem, delta), len(problem.start)
        steps = self.epochs * -(-n // self.batch_size)
        step = 0
        for epoch in range(self.epochs):
            generator = run.generator(problem.key, epoch, "order")
            order = torch.randperm(n, generator=generator, device=generator.device)
            for batch in torch.split(order, self.batch_size):
                delta = self._stepped(problem[batch], ball, delta, 1 - step / steps)
                step += 1
            found = self._rate(problem, delta)
            rate, best = (found, delta) if found > rate else (rate, best)
        return Universal(repr(self), threat, rate, digest(best[0]), best[0])

    def _stepped(self, problem: Problem, ball: bounds.Ball, delta: Tensor, length: float) -> Tensor:
        look = problem.look(problem.region.project(problem.start + delta))
        gradient = look.gradient(clipped).sum(0, keepdim=True)
        direction = (ball.argmax(gradient) - ball.argmax(-gradient)) / 2
        return ball.project(delta + self.step_size * length * direction)

    def _rate(self, problem: Problem, delta: Tensor) -> float:
        """The share of samples that a perturbation breaks."""
        every = torch.arange(len(problem.start), device=problem.start.device)
        broken = [
            part.look(part.region.project(part.start + delta)).broken
            for part in (problem[batch] for batch in torch.split(every, self.batch_size))
        ]
        return float(torch.cat(broken).double().mean())
