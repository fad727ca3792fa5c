"""What attacks share that minimise a distance plus a constant times the margin: scales and constants."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from certify.attacks.base import Look, PerSample
from certify.attacks.losses import margin
from certify.attacks.minimal import Nearby
from certify.attacks.norms import DUAL, per_sample, size, wide


@dataclass(frozen=True, eq=False)
class Scale(PerSample):
    """What a first look at the starts says of each sample's scales; (batch,).

    margin: the deciding value, by which the later ones are divided, so that the logits' scale counts for
    nothing. distance: to where a linear model would fail, the margin over the dual norm of its gradient.
    Where the network has no answer or no gradient, they are 1.
    """

    margin: Tensor
    distance: Tensor

    @classmethod
    def of(cls, look: Look, norm: float) -> Scale:
        """From a look at starts where no specification fails, in one of the norms that have a dual."""
        steep = size(wide(look.gradient(margin)), DUAL[norm])
        first = wide(look.deciding)
        first = torch.where(first.isfinite() & (first > 0), first, 1.0)
        away = first / steep
        return cls(first, torch.where(away.isfinite() & (away > 0), away, 1.0))

    def within(self, problem: Nearby) -> Scale:
        """With the width of the valid range as distance, if it has ends."""
        if not problem.bounded:
            return self
        box = problem.region.box()
        return Scale(self.margin, wide(box.upper - box.lower).flatten(1).amax(1))


@dataclass(frozen=True, eq=False)
class Constant(PerSample):
    """The search of the constant that weighs the margin (Carlini & Wagner 2017, section V.C).

    value: in use, (batch,). low: the largest that failed, 0 if none did; high: the smallest that
    succeeded, inf if none did. It grows by a factor until one succeeds, shrinks by it until one fails, and
    then halves the gap on a logarithmic scale.
    """

    value: Tensor
    low: Tensor
    high: Tensor

    factor = 4.0

    @classmethod
    def starting(cls, value: Tensor) -> Constant:
        """Nothing is known yet."""
        return cls(value, torch.zeros_like(value), torch.full_like(value, torch.inf))

    def after(self, tried: Tensor, succeeded: Tensor) -> Constant:
        """The next constants of those samples that were ``tried``; both (batch,) booleans."""
        high = torch.where(tried & succeeded, self.value, self.high)
        low = torch.where(tried & ~succeeded, self.value, self.low)
        between = torch.where(low > 0, (low * high).sqrt(), high / self.factor)
        value = torch.where(high.isfinite(), between, low * self.factor)
        return Constant(torch.where(tried, value, self.value), low, high)


@dataclass(frozen=True, eq=False)
class Moments(PerSample):
    """The moments of Adam (Kingma & Ba 2015), each sample's own, and how many gradients they have seen."""

    first: Tensor
    second: Tensor
    seen: Tensor

    betas = (0.9, 0.999)

    @classmethod
    def none(cls, points: Tensor) -> Moments:
        """Before the first gradient."""
        zero = torch.zeros_like(wide(points))
        return cls(zero, zero, zero.new_zeros(len(points)))

    def updated(self, gradient: Tensor) -> Moments:
        """With one more gradient of each sample."""
        first, second = self.betas
        return Moments(
            first * self.first + (1 - first) * gradient,
            second * self.second + (1 - second) * gradient**2,
            self.seen + 1,
        )

    def forgotten(self, samples: Tensor) -> Moments:
        """With those of some samples as before the first gradient; samples: (batch,) booleans."""
        gone = per_sample(samples, self.first)
        return Moments(
            self.first.masked_fill(gone, 0),
            self.second.masked_fill(gone, 0),
            self.seen.masked_fill(samples, 0),
        )

    @property
    def direction(self) -> Tensor:
        """Adam's step of length 1 per element, against which to go; 0 where no gradient was seen."""
        first, second = self.betas
        mean = self.first / per_sample(1 - first**self.seen, self.first)
        size = (self.second / per_sample(1 - second**self.seen, self.second)).sqrt()
        return torch.where(size > 0, mean / size.clamp(min=torch.finfo(size.dtype).tiny), 0.0)
