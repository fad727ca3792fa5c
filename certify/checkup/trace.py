"""An iterative attack watched from its first look to its last, also on samples that it has broken."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from certify.attacks.base import Attack, Problem, State
from certify.attacks.losses import margin

_LATE = 0.2


@dataclass(frozen=True, eq=False)
class Trace:
    """What one attempt went through, per sample.

    points: of the last look. flat: the share of looks at which the margin's gradient is 0 or no number.
    late: the share of the improvement of the smallest margin that came in the last fifth of the steps.
    broken: whether any look saw the specification fail.
    """

    points: Tensor
    flat: Tensor
    late: Tensor
    broken: Tensor


def traced(attack: Attack[State], problem: Problem) -> Trace:
    """Watch the first attempt of an attack."""
    state, values, flat = attack.init(problem, 0), [], []
    while True:
        look = problem.look(state.points)
        values.append(look.deciding)
        flat.append(~look.gradient(margin, more=True).flatten(1).any(1))
        if attack.done(state):
            return Trace(
                state.points.detach(),
                torch.stack(flat).double().mean(0),
                _late(torch.stack(values)),
                (torch.stack(values) <= 0).any(0),
            )
        state = attack.step(problem, state, look)


def _late(values: Tensor) -> Tensor:
    """See ``Trace``; values: (looks, n). 0 where there was no improvement at all."""
    best = values.double().cummin(0).values
    early = int((1 - _LATE) * (len(best) - 1))
    total = best[0] - best[-1]
    return ((best[early] - best[-1]) / total).nan_to_num(0.0, posinf=1.0, neginf=0.0)
