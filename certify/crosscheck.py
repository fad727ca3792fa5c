"""Certificates held against counterexamples of another evaluation, and contradictions looked at again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from certify import contradiction
from certify.contradiction import Reproducer, Side
from certify.decide import evaluate_batch
from certify.errors import RunMismatch, UsageError
from certify.evidence import Claim, Decider, Evidence
from certify.model import Model
from certify.query import Query
from certify.result import Result, SampleResult
from certify.run import Run
from certify.verdict import Verdict

_DEFAULT_RUN = Run()


@dataclass(frozen=True)
class Recorded:
    """An attack that has been made: its point is replayed like any other's."""

    decider: str
    witness: Tensor = field(repr=False, compare=False)
    claims: frozenset[Claim] = frozenset({Claim.FALSIFIED})

    def supports(self, query: Query) -> str | None:
        """None: a point can always be replayed."""
        return None

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """The point, for each sample."""
        return [Evidence(sample, self.decider, witness=self.witness) for sample in query.samples]


def replay(again: Reproducer, model: Model, provers: Sequence[Decider], run: Run) -> Reproducer | None:
    """Ask the certifiers once more, and replay the counterexample: the contradiction as it is now, or None.

    provers: asked in order with the settings of the file's certificate where one of them has its ``repr``,
    else all of them. Raises ``RunMismatch`` for another model than the reproducer's, ``UsageError`` if no
    prover is among the deciders.
    """
    if model.digest != again.proof.model:
        raise RunMismatch(
            f"the contradiction is about model {again.proof.model[:12]}, not {model.digest[:12]}; give the "
            "configuration of its run with the original files"
        )
    able = [each for each in provers if Claim.ROBUST in each.claims]
    able = [each for each in able if repr(each) == again.proof.decider] or able
    if not able:
        raise UsageError(f"no decider can prove anything; give the certifier {again.proof.decider}")
    y = torch.tensor([again.proof.label])
    query = Query(model, again.x[None], y, again.proof.threat, (again.sample,))
    (result,) = evaluate_batch(query, [*able, Recorded(again.attack.decider, again.witness)], run)
    return result.contradiction


def crosscheck(
    model: Model, x: Tensor, certified: Result, attacked: Result, run: Run = _DEFAULT_RUN
) -> list[Reproducer]:
    """Hold one evaluation's certificates against another's counterexamples: r_cert <= d* <= d_attack.

    x: (n, *input_shape), the inputs of the samples of ``certified``, in its order. A counterexample of
    ``attacked`` to a sample of the same id counts where it lies in the region that was certified; the two
    may be about different eps, and if they are about different models or labels, the cause is CONFIG.
    Raises ``UsageError`` where x does not belong to ``certified``.
    """
    if len(x) != len(certified):
        raise UsageError(f"{len(x)} inputs for {len(certified)} certified samples; give those, in that order")
    against = {each.sample: each for each in attacked.samples if each.witness is not None}
    alarms = []
    for point, sample in zip(x, certified.samples, strict=True):
        other = against.get(sample.sample)
        if sample.verdict is not Verdict.VERIFIED or other is None or other.witness is None:
            continue
        details = [next((e.detail for e in other.evidence if e.witness is not None), {})]
        witness = other.witness[None].to(point)
        if certified.threat.reaches(point[None], witness, details, model.input_range):
            proof, attack = _side(certified, sample), _side(attacked, other)
            alarms.append(contradiction.found(model, sample.sample, point, other.witness, proof, attack, run))
    return alarms


def _side(result: Result, sample: SampleResult) -> Side:
    by = sample.by or "an unnamed decider"
    return Side(by, result.digest, result.threat, sample.label, sample.margin, sample.level, sample.alpha)
