"""From cheap to dear, each sample only as far as it needs: IBP, CROWN-IBP, CROWN, alpha-CROWN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from bounds.interval import Interval
from bounds.propagate import forward
from bounds.propagate.crown import climbed, forward_facts, spec_bounds
from bounds.propagate.facts import Facts
from bounds.propagate.problem import Problem
from bounds.spec import Spec


@dataclass(frozen=True)
class Method:
    """What a method spends.

    relaxed: whether rows travel through lines, not only intervals. tighten: whether undecided neurons get
    rows of their own. joint: gradient steps on the slopes of these; steps: on those of the result's rows;
    spare: the rows without steps: of samples that are proved without, or all of clauses that are so.
    zonotopes: whether nodes are bounded by zonotopes instead, from the input on, without rows; generators:
    that each of these keeps, None for what fits into memory.
    """

    relaxed: bool = True
    tighten: bool = False
    joint: int = 0
    steps: int = 0
    spare: Literal["none", "samples", "clauses"] = "none"
    zonotopes: bool = False
    generators: int | None = None


FORWARD = Method(relaxed=False, zonotopes=True)
SLIM = Method(relaxed=False, zonotopes=True, generators=8)
IBP = Method(relaxed=False)
CROWN_IBP = Method()
CLIMB = Method(steps=4)
CROWN = Method(tighten=True, steps=1, spare="samples")
DECIDE = Method(tighten=True, steps=1, spare="clauses")
ALPHA = Method(tighten=True, steps=20)
JOINT = Method(tighten=True, steps=20, joint=10)
METHODS: Mapping[str, tuple[Method, ...]] = {
    "ibp": (IBP,),
    "forward": (FORWARD,),
    "crown-ibp": (CROWN_IBP,),
    "crown": (CROWN,),
    "alpha-crown": (ALPHA,),
    "alpha-crown-joint": (ALPHA, JOINT),
    "cascade": (IBP, CROWN_IBP, DECIDE, ALPHA, JOINT),
}


def row_bounds(problem: Problem, spec: Spec, methods: Sequence[Method]) -> Interval:
    """Bounds of the rows (batch, rows) by several methods in turn, each at least as tight as the last.

    The question is the lower side; the upper one comes with the interval analysis.
    """
    every = torch.ones(len(problem.region), spec.matrix.shape[1], dtype=torch.bool, device=spec.matrix.device)
    found = _unknown(every, spec)
    known: list[Facts] | None = None
    for method in methods:
        found, known = _apply(problem, spec, method, known, found, every)
    return found


def cascade(problem: Problem, spec: Spec, methods: Sequence[Method]) -> Interval:
    """Bounds of the rows, (batch, rows): every sample stops at the first method that proves its
    specification, and gradient steps go to rows of unproved clauses alone."""
    return attempted(problem, spec, methods).rows


@dataclass(frozen=True, eq=False)
class Attempt:
    """What a cascade has found: bounds of the rows of all samples, and what is known of those left over.

    left: samples that no method has proved, (left,); facts: theirs, of every node. last: the method they
    come from, None before any.
    """

    rows: Interval
    left: Tensor
    facts: list[Facts]
    last: Method | None

    def of(self, keep: Tensor) -> Attempt:
        """The same with only some of the samples that are left; a mask or places."""
        places = torch.arange(len(self.left), device=self.left.device)[keep]
        return Attempt(self.rows, self.left[places], [fact.of(places) for fact in self.facts], self.last)


def attempted(
    problem: Problem, spec: Spec, methods: Sequence[Method], before: Attempt | None = None
) -> Attempt:
    """See ``cascade``. before: what other methods have found already."""
    every = torch.ones(len(problem.region), spec.matrix.shape[1], dtype=torch.bool, device=spec.matrix.device)
    best = _unknown(every, spec)
    left = torch.arange(len(every), device=every.device)
    if before is not None:
        best, left = best.met(before.rows), before.left
    known, last = (None, None) if before is None else (before.facts, before.last)
    for method in methods:
        if len(left) == 0:
            break
        ready = last is not None and last.tighten and method.tighten and not method.joint
        here, so_far = spec[left], best[left]
        wanted = here.undecided(so_far.lower)
        found, facts = _apply(problem[left], here, method, known, so_far, wanted, ready)
        best.lower[left], best.upper[left] = found.lower, found.upper
        unproved = (here.worst(found.lower) <= 0).nonzero().squeeze(1)
        left = left[unproved]
        known, last = [fact.of(unproved) for fact in facts], method
    return Attempt(best, left, known or [], last)


def _unknown(mask: Tensor, spec: Spec) -> Interval:
    """Nothing known of rows, in the shape of a mask."""
    ends = torch.full_like(mask, torch.inf, dtype=spec.matrix.dtype)
    return Interval(-ends, ends)


def _apply(
    problem: Problem,
    spec: Spec,
    method: Method,
    known: list[Facts] | None,
    so_far: Interval,
    wanted: Tensor,
    ready: bool = False,
) -> tuple[Interval, list[Facts]]:
    """The bounds so far met with those of one method, and the facts these rest on.

    known: facts of the same problem to be at least as tight as. wanted: which rows get gradient steps.
    ready: whether the known facts are all that the method would find.
    """
    if method.zonotopes:
        found, facts = forward.row_bounds(problem, spec, method.generators)
        return so_far.met(found), facts
    if ready and known is not None:
        facts = known
    else:
        facts = forward_facts(problem, method.tighten, method.relaxed, method.joint, known)
    # steps begin with such rows themselves
    first = method.relaxed and (method.spare != "none" or method.steps == 0)
    found = so_far.met(spec_bounds(problem, facts, spec, first))
    if method.spare == "samples":
        wanted = wanted & (spec.worst(found.lower) <= 0)[:, None]
    elif method.spare == "clauses":
        wanted = wanted & spec.undecided(found.lower)
    if method.steps and bool(wanted.any()):
        found = replace(found, lower=climbed(problem, facts, spec, method.steps, found.lower, wanted))
    return found, facts
