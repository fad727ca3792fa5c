"""The six indicators of attack failure of Pintor et al. (2022), on the samples that no attack breaks."""

from __future__ import annotations

import math
from math import prod

import torch

from certify.checkup.base import Check, Trial, share
from certify.threat import Budgeted
from certify.threat.base import Counted

_METHOD = "Pintor et al. 2022"
_DRAWS = 8
# The neighbourhood of unstable predictions, as a share of eps.
_NEAR = 0.01
_NO_TRACE = "none of the attacks has steps that can be watched"


def unavailable_gradients(trial: Trial) -> float | None:
    """The mean share of an attack's looks that see the gradient 0."""
    return None if trial.trace is None else _mean(trial.trace.flat[trial.survivors])


def unstable_predictions(trial: Trial) -> float | None:
    """How much the margins vary within eps / 100 of where the attack ended: their mean change, as a share."""
    if trial.trace is None or trial.eps is None or not isinstance(trial.query.threat, Budgeted):
        return None
    points, query = trial.trace.points, trial.query
    near = query.threat.at(_NEAR * trial.eps).around(points, query.model.input_range)
    centre = trial.values(points)
    around = trial.problem("unstable predictions", near)
    draws = (trial.values(around.random_points(f"draw {k}")) for k in range(_DRAWS))
    changes = [(values - centre).abs().mean(1) for values in draws]
    scale = centre.abs().mean(1).clamp(min=torch.finfo(centre.dtype).tiny)
    return _mean((torch.stack(changes).mean(0) / scale)[trial.survivors])


def silent_success(trial: Trial) -> float | None:
    """The share of samples at which a look of the attack saw a failure that it did not return."""
    if trial.trace is None or trial.main is None:
        return None
    return share(trial.trace.broken.cpu() & ~trial.broken_by([trial.main]))


def incomplete_optimisation(trial: Trial) -> float | None:
    """The mean share of the improvement that came in the last fifth of the steps."""
    return None if trial.trace is None else _mean(trial.trace.late[trial.survivors])


def transfer_failure(trial: Trial) -> float | None:
    """The share of samples that points found on another model break, and the attacks do not."""
    if trial.surrogate is None:
        return None
    query, broken = trial.query, torch.zeros_like(trial.broken)
    for attack in trial.attacks:
        elsewhere = type(query)(trial.surrogate, query.x, query.y, query.threat, query.samples)
        for place, found in enumerate(attack.decide(elsewhere, trial.run)):
            if found.witness is not None:
                broken[place] |= not query.model.predictions(
                    found.witness.to(query.x)[None], query.y[place : place + 1], [found.sample], trial.run
                )[1].item()
    return trial.only(broken)


def unconstrained(trial: Trial) -> float | None:
    """The share of samples that the attacks do not break where any valid input is allowed."""
    threat, query = trial.query.threat, trial.query
    if (
        not isinstance(threat, Budgeted)
        or threat.eps == 0
        or (trial.eps is None and not isinstance(threat, Counted))
    ):
        return None
    size = prod(query.x.shape[1:])
    low, high = query.model.input_range or (0.0, 1e3 * threat.eps)
    if threat.norm is None:
        wide = float(prod(query.x.shape[-2:]))
    elif threat.norm == 0:
        wide = float(size)
    else:
        wide = (high - low) * (1.0 if math.isinf(threat.norm) else size ** (1 / threat.norm))
    return share(~trial.broken_by(trial.attacks, threat.at(wide)))


def _mean(values: torch.Tensor) -> float:
    return float(values.double().mean()) if len(values) else 0.0


CHECKS = (
    Check(
        "unavailable gradients",
        _METHOD,
        unavailable_gradients,
        0.01,
        0.1,
        "The attack looks at points whose gradient is zero: it does not know where to go.",
        _NO_TRACE,
    ),
    Check(
        "unstable predictions",
        _METHOD,
        unstable_predictions,
        0.1,
        0.5,
        "Outputs jump within a hundredth of eps: gradients say nothing about the neighbourhood.",
        f"{_NO_TRACE}, or the threat is no ball of an Lp norm",
    ),
    Check(
        "silent success",
        _METHOD,
        silent_success,
        0.0,
        0.0,
        "The attack passed counterexamples and did not return them: keep the best iterate.",
        _NO_TRACE,
    ),
    Check(
        "incomplete optimisation",
        _METHOD,
        incomplete_optimisation,
        0.1,
        0.5,
        "The attack was still improving when it ended: give it more steps.",
        _NO_TRACE,
    ),
    Check(
        "transfer failure",
        _METHOD,
        transfer_failure,
        0.0,
        0.05,
        "Points found on another model break samples that the direct attacks do not.",
        "no surrogate was given",
    ),
    Check(
        "unconstrained attack fails",
        f"{_METHOD}; Carlini et al. 2019",
        unconstrained,
        0.0,
        0.1,
        "Even with any valid input allowed the attacks do not break every sample.",
        "the threat has no budget to widen",
    ),
)
