"""The flags of AutoAttack: models that a standard ensemble of attacks is not made for.

Croce & Hein (2020), and the flags that accompany their code since 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor

from certify.checkup.base import Check, Trial, share

_METHOD = "Croce & Hein 2020, flags"
_CALLS = 5
_SUM = 1e-3


def randomised(trial: Trial) -> float:
    """The largest change of a logit between passes over the same inputs, as a share of the largest logit."""
    with torch.no_grad():
        logits = torch.stack([trial.query.model(trial.query.x).double() for _ in range(_CALLS)])
    spread = (logits.amax(0) - logits.amin(0)).amax()
    return float(spread / logits.abs().amax().clamp(min=torch.finfo(torch.float64).tiny))


def probabilities(trial: Trial) -> float:
    """The share of samples whose outputs are a distribution over the classes."""
    with torch.no_grad():
        outputs = trial.query.model(trial.query.x).double()
    return share((outputs >= 0).all(1) & ((outputs.sum(1) - 1).abs() < _SUM) & (outputs.shape[1] > 1))


def zero_gradients(trial: Trial) -> float:
    """The share of samples whose margin has gradient 0 at the input, or at a random point of the region."""
    random = trial.problem("zero gradients").random_points("start")
    flat = [_flat(trial, points) for points in (trial.query.x, random)]
    return share(flat[0] | flat[1])


def _flat(trial: Trial, points: Tensor) -> Tensor:
    return ~trial.gradients(points)[1].any(1)


def black_box(trial: Trial) -> float | None:
    """The share of samples that the attack without gradients breaks, and the others do not."""
    return None if trial.black_box is None else trial.only(trial.broken_by([trial.black_box]))


def inference_gradients(trial: Trial) -> float:
    """How many tensors a backward pass reads while the model answers with autograd switched off."""
    read: list[int] = []

    def unpack(tensor: Tensor) -> Tensor:
        read.append(1)
        return tensor

    with torch.no_grad(), torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
        trial.query.model(trial.query.x[:1])
    return float(len(read))


def few_classes(trial: Trial) -> float:
    """How many classes are missing to four."""
    return float(max(4 - trial.query.model.num_classes, 0))


CHECKS = (
    Check(
        "randomised model",
        _METHOD,
        randomised,
        1e-5,
        1e-3,
        "Logits change between passes over the same input: average gradients over the randomness.",
    ),
    Check(
        "probabilities as outputs",
        _METHOD,
        probabilities,
        0.0,
        None,
        "The outputs are a softmax, whose gradients vanish where the model is sure: give the logits.",
    ),
    Check(
        "zero gradients",
        _METHOD,
        zero_gradients,
        0.0,
        0.05,
        "The gradient is zero, so that gradient attacks cannot move: replace the masked step's gradient.",
    ),
    Check(
        "black box beats white box",
        _METHOD,
        black_box,
        0.0,
        0.05,
        "An attack without gradients breaks samples that the attacks with gradients do not.",
        "no attack without gradients was given",
    ),
    Check(
        "optimisation at inference",
        _METHOD,
        inference_gradients,
        0.0,
        0.0,
        "The model runs backward passes when it answers: attacks have to be made for that.",
    ),
    Check(
        "few classes",
        _METHOD,
        few_classes,
        0.0,
        None,
        "The DLR loss needs four classes; attacks fall back on the margin.",
    ),
)
