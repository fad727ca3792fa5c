"""What all health checks share: a check as a value, and the attacks under examination."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

import bounds
from certify.attacks import FGSM, Attack
from certify.attacks.base import Problem
from certify.attacks.losses import margin
from certify.checkup.trace import Trace, traced
from certify.decide import evaluate_batch, queries
from certify.diagnosis import Finding, Outcome
from certify.evidence import Decider
from certify.model import Model
from certify.query import Query
from certify.run import Run
from certify.threat import Budgeted, Threat
from certify.verdict import Verdict


@dataclass(frozen=True, eq=False)
class Trial:
    """Attacks under examination, and what is known of them.

    query: samples that the model gets right. black_box: an attack without gradients to hold the attacks
    against; surrogate: another model, whose gradients may be better. None where there is none.
    """

    query: Query
    attacks: tuple[Decider, ...]
    run: Run
    black_box: Decider | None = None
    surrogate: Model | None = None

    @property
    def eps(self) -> float | None:
        """The budget > 0 of a ball of an Lp norm, any part of which is a budget, too; None for all else."""
        threat = self.query.threat
        smooth = isinstance(threat, Budgeted) and threat.norm not in (None, 0) and threat.eps > 0
        return threat.eps if isinstance(threat, Budgeted) and smooth else None

    @cached_property
    def broken(self) -> Tensor:
        """Which samples the attacks break, (n,) booleans on the CPU."""
        return self.broken_by(self.attacks)

    def broken_by(
        self, attacks: Sequence[Decider], threat: Threat | None = None, model: Model | None = None
    ) -> Tensor:
        """Which samples some attacks break, as the replay has it; threat, model: others than the query's."""
        asked = self.query
        batches = queries(
            model or asked.model, asked.x, asked.y, threat or asked.threat, self.run, samples=asked.samples
        )
        results = [each for part in batches for each in evaluate_batch(part, attacks, self.run)]
        return torch.tensor([each.verdict is Verdict.FALSIFIED for each in results])

    def only(self, other: Tensor) -> float:
        """The share of the samples that another attack breaks and these do not."""
        return share(other & ~self.broken)

    @cached_property
    def main(self) -> Attack[Any] | None:
        """The strongest of the attacks whose steps can be watched."""
        able = [each for each in self.attacks if isinstance(each, Attack)]
        return max(able, key=lambda each: int(self.broken_by([each]).sum()), default=None)

    @cached_property
    def iterative(self) -> Attack[Any] | None:
        """The same, where it makes more than one step."""
        return None if isinstance(self.main, FGSM) else self.main

    @cached_property
    def trace(self) -> Trace | None:
        """The main attack's first attempt, watched to its end on every sample."""
        return None if self.main is None else traced(self.main, self.problem(repr(self.main)))

    @property
    def survivors(self) -> Tensor:
        """The samples that no attack breaks, on the query's device: where a failure would hide."""
        return ~self.broken.to(self.query.x.device)

    def problem(self, key: str, region: bounds.InputSet | None = None) -> Problem:
        """The search that an attack makes, with all samples in it."""
        query = self.query
        spec = query.spec.to(query.x.dtype).on(query.x.device)
        return Problem(query.model, region or query.region, spec, query.x, query.samples, key, self.run)

    def gradients(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The margin loss at some points and its gradient, flattened: (n,) and (n, elements)."""
        look = self.problem("gradients").look(points)
        return -look.deciding, look.gradient(margin).flatten(1)

    def values(self, points: Tensor) -> Tensor:
        """The specification's clauses at some points, (n, clauses)."""
        with torch.no_grad():
            return self.problem("values").look(points).values.detach()


@dataclass(frozen=True)
class Check:
    """One health check.

    method: the paper. measure: a number that is larger where things are worse; None where the check does not
    apply. warn, fail: the outcome is worse where the number is above these; fail None: it only warns.
    sentence: what a bad outcome means. needs: what is missing where it does not apply.
    """

    name: str
    method: str
    measure: Callable[[Trial], float | None]
    warn: float
    fail: float | None
    sentence: str
    needs: str = ""

    def finding(self, trial: Trial) -> Finding:
        """Make the check."""
        measured = self.measure(trial)
        if measured is None:
            return self.not_run(self.needs)
        if self.fail is not None and not measured <= self.fail:
            return self._finding(Outcome.FAIL, measured, self.sentence)
        return self._finding(Outcome.PASS if measured <= self.warn else Outcome.WARN, measured, self.sentence)

    def not_run(self, reason: str) -> Finding:
        """The outcome of a check that could not be made."""
        return self._finding(Outcome.NOT_RUN, None, f"Not run: {reason}.")

    def _finding(self, outcome: Outcome, measured: float | None, sentence: str) -> Finding:
        return Finding(self.name, self.method, outcome, measured, self.warn, self.fail, sentence)


def share(mask: Tensor) -> float:
    """The share of samples that are so."""
    return float(mask.double().mean()) if mask.numel() else 0.0


def setting(attack: object, name: str) -> int | None:
    """A whole number among an attack's parameters, None where it has none of this name."""
    if not dataclasses.is_dataclass(attack):
        return None
    found = {each.name: getattr(attack, each.name) for each in dataclasses.fields(attack)}.get(name)
    return found if isinstance(found, int) else None
