"""The signs of masked gradients of Athalye, Carlini & Wagner (2018) and Carlini et al. (2019)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

import bounds
from certify.attacks import FGSM, PGD
from certify.checkup.base import Check, Trial, setting, share
from certify.decide import refutes
from certify.evidence import Decider
from certify.model import Model
from certify.threat import Budgeted

_ATHALYE = "Athalye, Carlini & Wagner 2018, section 3.1"
_CARLINI = "Carlini et al. 2019, section 5"
_DRAWS = 32
_STEP = 0.25  # of the finite difference, as a share of eps
_AGREE = 4.0  # the factor up to which a difference agrees with its gradient
_SCALES = (1e3, 1e-3)
_TARGETS = 9
_STEPS = 40
_SETTINGS = ("steps", "restarts")


@dataclass(frozen=True, eq=False, init=False)
class Scaled(Model):
    """A model with its logits multiplied by a number > 0, which decides nothing."""

    base: Model
    factor: float

    def __init__(self, base: Model, factor: float) -> None:
        super().__init__(
            lambda x: factor * base(x),
            None,
            base.input_shape,
            base.num_classes,
            base.input_range,
            f"{base.name} x {factor:g}",
            f"{base.digest}*{factor!r}",
        )
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "factor", factor)

    def spec(self, y: Tensor) -> bounds.Spec:
        return self.base.spec(y)


def one_step(trial: Trial) -> float | None:
    """The share of samples that one step breaks, and the iterative attack does not."""
    if trial.iterative is None:
        return None
    return share(trial.broken_by([FGSM()]) & ~trial.broken_by([trial.iterative]))


def random_noise(trial: Trial) -> float | None:
    """The share of samples that only random points break; all they break, if the attacks break no others.

    The latter in more dimensions than there are draws: in fewer they are an attack to be reckoned with.
    """
    problem, query = trial.problem("random noise"), trial.query
    if not query.threat.is_exact:
        return None
    found = torch.zeros(len(query.x), dtype=torch.bool, device=query.x.device)
    for k in range(_DRAWS):
        inner = problem.random_points(f"draw {k}")
        for points in (inner, query.region.argmax(inner - query.x)):
            found |= refutes(query.model, query.region, query.spec, points)
    noise = found.cpu()
    many = query.x[0].numel() > 2 * _DRAWS
    as_strong = many and not (trial.broken & ~noise).any() and not noise.all()
    return share(noise) if as_strong else trial.only(noise)


def monotone_in_eps(trial: Trial) -> float | None:
    """The largest fall of the success rate from a smaller eps to a larger one, of eps / 2, eps and 2 eps."""
    threat = trial.query.threat
    if trial.eps is None or not isinstance(threat, Budgeted):
        return None
    rates = [share(trial.broken_by(trial.attacks, threat.at(f * trial.eps))) for f in (0.5, 2.0)]
    return _fall([rates[0], share(trial.broken), rates[1]])


def monotone_in_effort(trial: Trial) -> float | None:
    """The largest fall of the success rate when steps or restarts are doubled."""
    falls = [
        _fall([share(trial.broken_by([attack])) for attack in (*smaller, trial.iterative, *larger)])
        for smaller, larger in _efforts(trial)
        if trial.iterative is not None
    ]
    return max(falls, default=None)


def more_effort(trial: Trial) -> float | None:
    """The share of samples that break with twice the steps or restarts, and not without."""
    gains = [trial.only(trial.broken_by(larger)) for _, larger in _efforts(trial)]
    return max(gains, default=None)


def _efforts(trial: Trial) -> list[tuple[list[Decider], list[Decider]]]:
    """The iterative attack with half and with twice of each setting that it has."""
    found = []
    for name in _SETTINGS:
        value = setting(trial.iterative, name)
        if value is not None:
            smaller = [_with(trial.iterative, name, value // 2)] if value > 1 else []
            found.append((smaller, [_with(trial.iterative, name, 2 * value)]))
    return found


def _with(attack: Decider | None, name: str, value: int) -> Decider:
    change: dict[str, Any] = {name: value}
    return dataclasses.replace(cast(PGD, attack), **change)


def _fall(rates: Sequence[float]) -> float:
    """The largest fall from one number to a later one."""
    return max(0.0, *(a - b for i, a in enumerate(rates) for b in rates[i + 1 :]))


def finite_differences(trial: Trial) -> float | None:
    """The share of samples at which the margin loss does not change as its gradient says.

    The step goes in the gradient's steepest direction over the ball of eps / 4, and its effect has to be
    within a factor of four of what the gradient predicts.
    """
    query = trial.query
    if trial.eps is None or not isinstance(query.threat, Budgeted):
        return None
    loss, gradient = trial.gradients(query.x)
    ball = query.threat.at(_STEP * trial.eps).around(query.x, query.model.input_range)
    points = ball.argmax(gradient.view_as(query.x))
    predicted = (gradient.double() * (points - query.x).flatten(1).double()).sum(1)
    observed = -trial.values(points).amin(1).double() - loss.double()
    agrees = (predicted > 0) & (observed * _AGREE >= predicted) & (observed <= predicted * _AGREE)
    return share(~agrees)


def logit_scale(trial: Trial) -> float:
    """The share of samples that break where all logits are multiplied by 1000 or 0.001, and not without."""
    model = trial.query.model
    return max(trial.only(trial.broken_by(trial.attacks, model=Scaled(model, f))) for f in _SCALES)


def targeted(trial: Trial) -> float | None:
    """The share of samples that a targeted attack breaks, and the attacks do not."""
    others = trial.query.model.num_classes - 1
    if others < 2:
        return None
    attack = PGD(steps=setting(trial.iterative, "steps") or _STEPS, targets=min(others, _TARGETS))
    return None if attack.supports(trial.query) else trial.only(trial.broken_by([attack]))


CHECKS = (
    Check(
        "one step beats many",
        _ATHALYE,
        one_step,
        0.0,
        0.05,
        "A single step breaks samples that the iterative attack does not: its gradients mislead it.",
        "none of the attacks makes steps that can be watched",
    ),
    Check(
        "random noise as strong",
        _ATHALYE,
        random_noise,
        0.0,
        0.05,
        "Random points break samples that the attacks do not, or as many as they do.",
        "the region holds more than the adversary reaches",
    ),
    Check(
        "success falls as eps grows",
        _ATHALYE,
        monotone_in_eps,
        0.0,
        0.05,
        "A larger ball holds every point of a smaller one, and yet the attacks break less there.",
        "the threat is no ball of an Lp norm",
    ),
    Check(
        "success falls with effort",
        _CARLINI,
        monotone_in_effort,
        0.02,
        0.1,
        "More steps or restarts break fewer samples.",
        "the attacks have neither steps nor restarts",
    ),
    Check(
        "more effort breaks more",
        _CARLINI,
        more_effort,
        0.05,
        0.15,
        "Twice the steps or restarts break more samples: the attack has not converged.",
        "the attacks have neither steps nor restarts",
    ),
    Check(
        "gradient against differences",
        _CARLINI,
        finite_differences,
        0.2,
        0.5,
        "The loss does not change along its gradient as the gradient says.",
        "the threat is no ball of an Lp norm",
    ),
    Check(
        "scale of the logits",
        _CARLINI,
        logit_scale,
        0.05,
        0.1,
        "Logits times a number, which decides nothing, are broken more often: the loss saturates.",
    ),
    Check(
        "targeted beats untargeted",
        _CARLINI,
        targeted,
        0.05,
        0.15,
        "Attacks that aim at one class each break more samples: aim at classes.",
        "there is only one class to aim at, or no gradient to aim with",
    ),
)
