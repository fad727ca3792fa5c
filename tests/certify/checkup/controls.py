"""Models and attacks that one health check or another has to find out, and plain ones that all must pass."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from certify.attacks import FGSM, PGD
from certify.attacks.base import Found, Look, Problem, RegionAttack
from certify.attacks.pgd import Walk
from certify.model import Model
from certify.threat import Linf
from tests.certify.toys import mlp, model_of, normal, uniform

EPS = 0.1
THREAT = Linf(EPS)
PLAIN = mlp((32, 64, 5), seed=3, valid=(0.0, 1.0))
X = uniform(16, 32, seed=4, dtype=torch.float32)


def changed(forward, base: Model = PLAIN) -> Model:
    """Another function of the same inputs and classes."""
    return model_of(forward, base.input_shape, base.num_classes, base.input_range)


# --- models

PROBABILITIES = changed(lambda x: (0.01 * PLAIN(x)).softmax(1))
DISTILLED = changed(lambda x: (100 * PLAIN(x)).softmax(1))  # Papernot et al. 2016, answering at temperature 1
QUANTISED = changed(lambda x: PLAIN((x * 32).round() / 32))  # what JPEG and bit depth do to a gradient
THREE = mlp((32, 64, 3), seed=3, valid=(0.0, 1.0))


def winners(x: Tensor) -> Tensor:
    """k winners take all (Xiao, Zhong & Zheng 2020) in two wide layers."""
    first, second = normal(512, 32, seed=1).float(), normal(512, 512, seed=2).float()
    h = (x - 0.5) @ first.T
    h = h * (h >= h.topk(16, dim=1).values[:, -1:])
    h = h @ second.T
    h = h * (h >= h.topk(16, dim=1).values[:, -1:])
    return h @ normal(5, 512, seed=3).float().T


WINNERS = changed(winners)


def randomised(seed: int = 0) -> Model:
    """Noise on the input, new in every pass."""
    generator = torch.Generator().manual_seed(seed)
    return changed(lambda x: PLAIN(x + 0.05 * torch.randn(x.shape, generator=generator)))


def purified(x: Tensor) -> Tensor:
    """The input takes a gradient step towards confidence before it is classified."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        (step,) = torch.autograd.grad(PLAIN(leaf).logsumexp(1).sum(), leaf)
    return PLAIN(x + 0.01 * step)


class _Turned(torch.autograd.Function):
    """The identity with the gradient turned round."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


TURNED = changed(lambda x: PLAIN(_Turned.apply(x)))
JITTERY = changed(lambda x: PLAIN(x) * (1.1 + torch.sin(3e4 * x.sum(1, keepdim=True))))
LOUD = changed(lambda x: 1e5 * PLAIN(x))


def band(x: Tensor) -> Tensor:
    """Class 1 in a band of the first input only: from 0.04 to 0.06 above 0.5."""
    middle = (x[:, :1] - 0.55).abs() - 0.01
    return torch.cat([middle, -middle, *[-torch.ones_like(middle)] * 3], 1)


def decoy(x: Tensor) -> Tensor:
    """The nearest class stays just out of reach; the one behind it is reached the other way."""
    first = x[:, :1] - 0.5
    zero = torch.zeros_like(first)
    return torch.cat([zero, -0.01 + 0.005 * torch.tanh(20 * first), -0.5 - 20 * first, zero - 1, zero - 1], 1)


BAND, DECOY = changed(band), changed(decoy)
MIDDLE = torch.full((16, 32), 0.5)


# --- attacks


@dataclass(frozen=True)
class RandomSearch(RegionAttack):
    """The best of some random points: an attack that knows no gradients."""

    points: int = 200

    def find(self, problem: Problem) -> Found:
        everyone, best = torch.arange(len(problem.start)), Found.nothing(problem)
        for k in range(self.points):
            inner = problem.random_points(f"draw {k}")
            best = best.updated(everyone, problem.look(problem.region.argmax(inner - problem.start)))
        return best


@dataclass(frozen=True)
class Forgetful(PGD):
    """PGD that loses what it finds."""

    def find(self, problem: Problem) -> Found:
        return Found.nothing(problem)


@dataclass(frozen=True)
class Still(PGD):
    """An attack that never moves."""

    def init(self, problem: Problem, attempt: int) -> Walk:
        return Walk(problem.start)

    def step(self, problem: Problem, state: Walk, look: Look) -> Walk:
        return replace(state, steps=state.steps + 1)


@dataclass(frozen=True)
class Downhill(PGD):
    """PGD with the wrong sign."""

    def step(self, problem: Problem, state: Walk, look: Look) -> Walk:
        best = problem.region.argmax(-look.gradient(lambda values: -values.amin(1)))
        return replace(state, points=best, steps=state.steps + 1)


@dataclass(frozen=True)
class Weary(Still):
    """An attack that works only if it is not asked for too much."""

    def step(self, problem: Problem, state: Walk, look: Look) -> Walk:
        if self.steps > 20:
            return super().step(problem, state, look)
        return PGD.step(self, problem, state, look)


@dataclass(frozen=True)
class Unscaled(PGD):
    """PGD with the plain cross-entropy, which vanishes where the model is sure."""

    def step(self, problem: Problem, state: Walk, look: Look) -> Walk:
        gradient = look.gradient(lambda values: torch.log1p(torch.exp(-values).sum(1)))
        points = problem.region.project(state.points + gradient.sign() * 0.2 * EPS)
        return replace(state, points=points, steps=state.steps + 1)


__all__ = ["FGSM", "PGD"]
