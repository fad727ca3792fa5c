"""Certificates of one classifier carried over to another that nearly always agrees with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from certify.binomial import check_alpha
from certify.errors import UsageError
from certify.model import Model
from certify.run import Run
from certify.smoothing.certifier import Smoothing
from certify.smoothing.engine import Classifier, Engine, Procedure
from certify.smoothing.inputs import check_inputs
from certify.smoothing.intervals import FloatArray, lower_bounds
from certify.smoothing.modes import Ask
from certify.smoothing.modes.fixed import check_draws
from certify.smoothing.result import ABSTAIN, SmoothingResult
from certify.smoothing.votes import InMemory

_STREAM = "transfer"
_DEFAULT_RUN = Run()


@dataclass(frozen=True, eq=False)
class Transferred:
    """The certificates of the smoothed near model, and what they lost.

    result: label and radius of the smoothed near model; p_lower and p_other bound its probabilities, alpha is
    the sum of both failure probabilities; hits, n and selection are the base model's still. differing:
    (batch,) int64, of ``draws`` those on which the two models answer differently. zeta: (batch,) float64, the
    upper confidence bound of the probability that they do.
    """

    result: SmoothingResult
    differing: Tensor
    zeta: Tensor
    draws: int


@dataclass(frozen=True)
class Transfer:
    """Certify an exported, quantised or otherwise changed model by the certificates of its original.

    Ugare, Suresh, Banerjee, Singh & Misailovic (2024), *Incremental randomized smoothing certification*.
    Where original f and near model f' differ on at most a share zeta of the noisy copies, each class's
    probability under f' is within zeta of that under f: radius sigma * Phi^-1(p_lower - zeta) for normal
    noise, and for any law its own formula at p_lower - zeta and p_other + zeta. zeta is the upper bound of
    Clopper & Pearson (1934) from ``n`` copies that both models see. It holds with probability 1 - alpha, the
    original's certificate with its own; both together fail with at most the sum.
    Far fewer draws than for a new certificate are enough where the models differ rarely: without a
    difference zeta is about -log(alpha) / n.
    Raises ``UsageError`` for a value outside its domain.
    """

    n: int = 10_000
    alpha: float = 1e-3

    def __post_init__(self) -> None:
        check_draws("n", self.n)
        check_alpha(self.alpha)

    def certify(
        self,
        certifier: Smoothing,
        certified: SmoothingResult,
        base: Model | Classifier,
        near: Model | Classifier,
        x: Tensor,
        run: Run = _DEFAULT_RUN,
        samples: Sequence[int] | None = None,
    ) -> Transferred:
        """The smoothed near model's certificates, from those that ``certifier`` gave the original.

        base: the classifier that was certified, not smoothed; it is executed as the certifier does. near: the
        other one, executed as it is, from (rows, *input_shape) to logits. x, samples: as they were certified.
        Raises ``UsageError`` for certificates of another law, execution or number of inputs, models that do
        not agree on the classes, and whatever ``Smoothing.certify`` refuses in a model.
        """
        ids = tuple(range(len(x)) if samples is None else samples)
        check_inputs(base, x, ids)
        _check_origin(certifier, certified, len(x))
        total = _sum(certified.alpha, self.alpha)
        x = x.to(run.device)
        original = certifier.execution.of(base, run.device)

        def engine(forward: Classifier) -> Engine:
            static = certifier.execution.compile
            return Engine(forward, certifier.noise, certifier.batch_size, run, InMemory(), static)

        classes = [engine(forward).probe(x[0], ids[0]) for forward in (original, near)]
        if classes[0] != classes[1]:
            raise UsageError(f"the models have {classes[0]} and {classes[1]} classes; they must be the same")
        comparison = engine(_Differs(original, near))
        found = comparison.outcomes(x, ids, 2, [_count(self.n) for _ in ids])
        differing = np.array(found, dtype=np.int64)
        zeta = np.nextafter(1 - lower_bounds(self.n - differing, self.n, self.alpha), 2.0)
        result = self._lowered(certifier, certified, np.minimum(zeta, 1.0), total)
        return Transferred(
            result, torch.from_numpy(differing), torch.from_numpy(np.minimum(zeta, 1.0)), self.n
        )

    def _lowered(
        self, certifier: Smoothing, certified: SmoothingResult, zeta: FloatArray, alpha: float
    ) -> SmoothingResult:
        """The certificates with every probability moved by zeta, rounded so that they never gain."""
        p_lower = np.maximum(np.nextafter(certified.p_lower.numpy() - zeta, -1.0), 0.0)
        p_other = np.minimum(np.nextafter(certified.p_other.numpy() + zeta, 2.0), 1.0)
        radius = np.minimum(certifier.noise.radius(p_lower, p_other), certified.radius.numpy())
        found = torch.from_numpy(radius)
        return replace(
            certified,
            label=torch.where(found > 0, certified.selected, ABSTAIN),
            radius=found,
            p_lower=torch.from_numpy(p_lower),
            p_other=torch.from_numpy(p_other),
            alpha=alpha,
            mode=f"{certified.mode}, then {self!r}",
        )


@dataclass(frozen=True, eq=False)
class _Differs:
    """Both models on the same noisy copies: class 1 where they answer differently, NaN where either does."""

    original: Classifier
    near: Classifier

    def __call__(self, noisy: Tensor) -> Tensor:
        one, other = self.original(noisy), self.near(noisy).to(noisy.device)
        differ = one.argmax(1) != other.argmax(1)
        votes = torch.stack([~differ, differ], dim=1).float()
        broken = one.isnan().any(1) | other.isnan().any(1)
        return votes.masked_fill(broken[:, None], math.nan)


def _count(n: int) -> Procedure[int]:
    """On how many of n draws the models differ."""
    votes = yield Ask(_STREAM, n)
    return int(votes[1])


def _check_origin(certifier: Smoothing, certified: SmoothingResult, count: int) -> None:
    """Refuse certificates that this certifier has not given for so many inputs."""
    if len(certified.label) != count:
        raise UsageError(f"{len(certified.label)} certificates for {count} inputs")
    for name, of, own in (
        ("law", certified.law, repr(certifier.noise)),
        ("execution", certified.execution, repr(certifier.execution)),
    ):
        if of != own:
            raise UsageError(f"the certificates are for {name} {of}, the certifier has {own}")


def _sum(one: float, other: float) -> float:
    """The sum of two failure probabilities, rounded up. Raises ``UsageError`` if it says nothing."""
    found = one + other
    if Fraction(found) < Fraction(one) + Fraction(other):
        found = math.nextafter(found, math.inf)
    check_alpha(found)
    return found
