"""Transfer: counterexamples made on other models, tried on this one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from certify.attacks.base import Attack, Forward, Found, Problem, RegionAttack, State, no_gradient
from certify.attacks.blackbox.search import Deepest, no_answer
from certify.attacks.blackbox.view import scores_of
from certify.attacks.tally import Tally
from certify.errors import UsageError
from certify.model import Model
from certify.query import Query

S = TypeVar("S", bound=State)


@dataclass(frozen=True, repr=False)
class TransferAttack(RegionAttack, Generic[S]):
    """Candidates from attacks on surrogates, each tried by one query (Papernot, McDaniel & Goodfellow 2016).

    attack: an attack by gradients, run to its end on every surrogate; its candidate is the point where that
    surrogate's smallest margin is least, not the first that breaks it. surrogates: models of the same inputs
    and classes, such as ``Substitute`` trains; several are also attacked together, by the mean of their
    logits (Dong et al. 2018). The target gets one query per candidate; its gradients are never asked for.
    Raises ``UsageError`` without a surrogate.
    """

    attack: Attack[S]
    surrogates: tuple[Model, ...]

    def __post_init__(self) -> None:
        if not self.surrogates:
            raise UsageError("TransferAttack has no surrogates; give at least one model to attack instead")

    def __repr__(self) -> str:
        names = ", ".join(f"{each.name}@{each.digest[:8]}" for each in self.surrogates)
        return f"TransferAttack(attack={self.attack!r}, surrogates=({names}))"

    def supports(self, query: Query) -> str | None:
        """None if the surrogates are models of the same kind that the attack can search, else the reason."""
        model = query.model
        for each in self.surrogates:
            if (each.input_shape, each.num_classes) != (model.input_shape, model.num_classes):
                return (
                    f"the surrogate {each.name} maps {each.input_shape} to {each.num_classes} classes, and "
                    f"{model.name} {model.input_shape} to {model.num_classes}; give one of the same kind"
                )
            reason = no_answer(query) or no_gradient(replace(query, model=each))
            if reason is not None:
                return reason
        return super().supports(query)

    def find(self, problem: Problem) -> Found:
        """One query for each candidate, until one breaks the target."""
        record = Deepest(Found.nothing(problem))
        index = torch.arange(len(problem.start), device=problem.start.device)
        view = scores_of(problem, len(self.surrogates) + 1, record)
        for number, forward in enumerate(self._attacked()):
            index = index[~record.settled(index)]
            if len(index) == 0:
                break
            own = replace(problem[index], forward=forward, key=f"{problem.key} {number}", tally=Tally())
            view[index].values(deepest(self.attack, own)[:, None])
        return record.best

    def _attacked(self) -> Iterator[Forward]:
        """The surrogates one by one, and where there are several their mean first: it transfers best."""
        if len(self.surrogates) > 1:
            yield lambda x: torch.stack([each(x) for each in self.surrogates]).mean(0)
        yield from self.surrogates


def deepest(attack: Attack[S], problem: Problem) -> Tensor:
    """The points with the smallest deciding value that all attempts of an attack see; (batch, *shape).

    Unlike in ``search``, no sample leaves when it is broken: what barely breaks one model may break no other.
    """
    best = Found.nothing(problem)
    everyone = torch.arange(len(problem.start), device=problem.start.device)
    for attempt in range(attack.attempts):
        state = attack.init(problem, attempt)
        while True:
            look = problem.look(state.points)
            best = best.updated(everyone, look)
            if attack.done(state):
                break
            state = attack.step(problem, state, look)
    return best.points
