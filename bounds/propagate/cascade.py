"""From cheap to dear, each sample only as far as it needs: IBP, CROWN-IBP, CROWN, alpha-CROWN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bounds.propagate import forward
from bounds.propagate.crown import climbed, forward_facts, spec_lower_bounds
from bounds.propagate.facts import Facts
from bounds.propagate.problem import Problem
from bounds.spec import Spec


@dataclass(frozen=True)
class Method:
    """What a method spends.

    relaxed: whether rows travel through lines, not only intervals. tighten: whether undecided neurons get
    rows of their own. joint: gradient steps on the slopes of these; steps: on those of the result's rows.
    zonotopes: whether nodes are bounded by zonotopes instead, from the input on, without rows.
    """

    relaxed: bool = True
    tighten: bool = False
    joint: int = 0
    steps: int = 0
    zonotopes: bool = False


FORWARD = Method(relaxed=False, zonotopes=True)
IBP = Method(relaxed=False)
CROWN_IBP = Method()
CROWN = Method(tighten=True, steps=1)
ALPHA = Method(tighten=True, steps=20)
JOINT = Method(tighten=True, steps=20, joint=10)
METHODS: Mapping[str, tuple[Method, ...]] = {
    "ibp": (IBP,),
    "forward": (FORWARD,),
    "crown-ibp": (CROWN_IBP,),
    "crown": (CROWN,),
    "alpha-crown": (ALPHA,),
    "alpha-crown-joint": (ALPHA, JOINT),
    "cascade": (IBP, CROWN_IBP, CROWN, ALPHA, JOINT),
}


def lower_bounds(problem: Problem, spec: Spec, methods: Sequence[Method], wanted: Tensor) -> Tensor:
    """Lower bounds of the rows (batch, rows) by several methods in turn, each at least as tight as the last.

    wanted: (batch, rows) which rows get gradient steps.
    """
    lower = torch.full_like(wanted, -torch.inf, dtype=spec.matrix.dtype)
    known: list[Facts] | None = None
    for method in methods:
        lower, known = _apply(problem, spec, method, known, lower, wanted)
    return lower


def cascade(problem: Problem, spec: Spec, methods: Sequence[Method]) -> Tensor:
    """Lower bounds of the rows, (batch, rows): every sample stops at the first method that proves its
    specification, and gradient steps go to rows of unproved clauses alone."""
    shape = (len(problem.region), spec.matrix.shape[1])
    lower = torch.full(shape, -torch.inf, dtype=spec.matrix.dtype, device=spec.matrix.device)
    left = torch.arange(len(lower), device=lower.device)
    known: list[Facts] | None = None
    for method in methods:
        here, before = spec[left], lower[left]
        found, facts = _apply(problem[left], here, method, known, before, here.undecided(before))
        lower[left] = found
        unproved = (here.worst(found) <= 0).nonzero().squeeze(1)
        left = left[unproved]
        if len(left) == 0:
            break
        known = [fact.of(unproved) for fact in facts]
    return lower


def _apply(
    problem: Problem, spec: Spec, method: Method, known: list[Facts] | None, lower: Tensor, wanted: Tensor
) -> tuple[Tensor, list[Facts]]:
    """The lower bounds met with those of one method, and the facts these rest on.

    known: facts of the same problem to be at least as tight as. wanted: which rows get gradient steps.
    """
    if method.zonotopes:
        found, facts = forward.lower_bounds(problem, spec)
        return torch.maximum(lower, found), facts
    facts = forward_facts(problem, method.tighten, method.relaxed, method.joint, known)
    backward = method.relaxed and method.steps == 0  # the steps begin with such rows themselves
    lower = torch.maximum(lower, spec_lower_bounds(problem, facts, spec, backward))
    if method.steps:
        lower = climbed(problem, facts, spec, method.steps, lower, wanted)
    return lower, facts
