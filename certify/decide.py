"""Many deciders, one judge: clean predictions, replayed counterexamples and compared margins.

Deciders bring evidence and never judge it. A sample is ``VERIFIED`` by a finite margin > 0 of a decider that
claims robustness, ``FALSIFIED`` by a witness that this module has replayed; both at once are a
contradiction. A model that answers by sampling, such as a smoothed one, is asked in the same two ways as any
other, ``predictions`` and ``p_values``; a witness counts if its p-value is at most its evidence's alpha.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

import bounds
from bounds.rounding import Level
from certify import contradiction
from certify.errors import CertifyError, UsageError
from certify.evidence import FAILED, NONFINITE, Claim, Decider, Evidence
from certify.model import Model, answers, holds
from certify.query import Query, check_ids, check_samples
from certify.result import Result, SampleResult
from certify.run import Run
from certify.threat import Threat
from certify.verdict import Verdict

Listener = Callable[[int, Sequence[SampleResult]], None]
_DEFAULT_RUN = Run()


def evaluate(
    model: Model,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    deciders: Sequence[Decider],
    *,
    run: Run = _DEFAULT_RUN,
    samples: Sequence[int] | None = None,
    cross_check: bool = True,
    on_batch: Listener | None = None,
    reproducers: Path | None = None,
) -> Result:
    """Ask deciders, in order, whether the model's decisions are robust.

    x: (n, *input_shape) in input units; y: (n,) labels; samples: the ids of the samples in their data set
    (default 0, 1, ...), which key the randomness. cross_check: see ``evaluate_batch``. on_batch: called with
    (batch index, its results) after each batch. reproducers: a folder into which a file is written for every
    contradiction, as soon as it is found. ``run.progress`` hears of the stage "evaluate" in samples.
    Raises ``UsageError`` for bad inputs and for a decider that does not support the query, before any work
    starts; ``Contradiction``, at the end, where a sample is both proved and attacked: the first such one, and
    the whole ``result``.
    """
    batches = list(queries(model, x, y, threat, run, samples=samples))
    check_deciders(batches[0], deciders)
    found: list[SampleResult] = []
    run.progress("evaluate", 0, len(x))
    for index, query in enumerate(batches):
        results = evaluate_batch(query, deciders, run, cross_check)
        if on_batch is not None:
            on_batch(index, results)
        for each in results:
            if each.contradiction is not None and reproducers is not None:
                each.contradiction.save(reproducers)
        found += results
        run.progress("evaluate", len(found), len(x))
    result = Result(model.name, model.digest, threat, tuple(map(repr, deciders)), tuple(found))
    if result.contradictions:
        error = result.contradictions[0].error()
        error.result = result
        raise error
    return result


def queries(
    model: Model, x: Tensor, y: Tensor, threat: Threat, run: Run, *, samples: Sequence[int] | None = None
) -> Iterator[Query]:
    """The samples cut into batches by index, ``run.batch_size`` each, on the run's device.

    The same arguments always give the same batches, so that a ledger may skip those it has.
    Raises ``UsageError`` for bad inputs anywhere in x, y or samples, before the first batch.
    """
    ids = tuple(range(len(x)) if samples is None else samples)
    check_samples(model, x, y)
    check_ids(ids)
    if len(ids) != len(x):
        raise UsageError(f"{len(ids)} sample ids for {len(x)} samples")
    for first in range(0, len(x), run.batch_size):
        part = slice(first, first + run.batch_size)
        yield Query(model, x[part].to(run.device), y[part].to(run.device), threat, ids[part])


def check_deciders(query: Query, deciders: Sequence[Decider]) -> None:
    """Refuse, before work starts, deciders that cannot answer; the message names the first and its reason."""
    if not deciders:
        raise UsageError("there are no deciders; give at least one, such as PGD() or CROWN()")
    for decider in deciders:
        reason = decider.supports(query)
        if reason is not None:
            raise UsageError(f"{decider!r} cannot answer: {reason}")


def evaluate_batch(
    query: Query, deciders: Sequence[Decider], run: Run, cross_check: bool = True
) -> list[SampleResult]:
    """One result per sample of the query, in order.

    Samples that the model gets wrong (or ties on) are asked of nobody. Each decider, in order, sees the
    samples that are still open to it: for one that can prove, those neither proved nor falsified yet; for a
    pure attack also the proved ones if ``cross_check``, so that every certificate is attacked.

    A ``bounds.BoundsError`` inside a decider costs that decider's evidence on this batch and is kept as its
    detail "error"; a sample on which every decider failed so has the verdict ``ERROR``, and so has one near
    which the model gave outputs that are NaN or infinite, whatever is proved. Other exceptions pass through.
    A sample that is proved and attacked has the verdict ``ERROR``, too, and its ``contradiction``.
    """
    cases = _clean_cases(query, run)
    for decider in deciders:
        is_open = [case.open_to(decider, cross_check) for case in cases]
        if not any(is_open):
            continue
        part = query[torch.tensor(is_open, device=query.x.device)]
        asked = [case for case, keep in zip(cases, is_open, strict=True) if keep]
        for case, evidence in zip(asked, judged(decider, part, run), strict=True):
            case.add(evidence, Claim.ROBUST in decider.claims)
    _classify(query, cases, run)
    return [case.result(query, place, run) for place, case in enumerate(cases)]


def refutes(
    forward: Callable[[Tensor], Tensor], region: bounds.InputSet, spec: bounds.Spec, points: Tensor
) -> Tensor:
    """The replay: whether each sample's point is a counterexample; (batch,) booleans.

    points: (batch, *shape) in the dtype that the network runs in. True where the point lies in its sample's
    region without tolerance and the specification does not hold strictly at the network's own output there:
    a tie is a counterexample. Outputs that are NaN or infinite are no answer, so they are none.
    """
    with torch.no_grad():
        outputs = forward(points)
    return region.contains(points) & answers(outputs) & ~holds(spec, outputs)


def proves(evidence: Evidence) -> bool:
    """Whether a certifier's margin is a proof: finite, > 0, with a level or a failure probability."""
    margin = evidence.margin
    backed = evidence.level is not None or 0 < evidence.alpha < 1
    return margin is not None and math.isfinite(margin) and margin > 0 and backed


def judged(decider: Decider, query: Query, run: Run) -> list[Evidence]:
    """The decider's evidence, with only those witnesses left that the replay confirms, on the CPU."""
    start = time.perf_counter()
    try:
        found = decider.decide(query, run)
    except bounds.BoundsError as error:
        return [Evidence(sample, repr(decider), detail={FAILED: str(error)}) for sample in query.samples]
    seconds = time.perf_counter() - start
    found = [each if each.seconds else replace(each, seconds=seconds) for each in found]
    if [each.sample for each in found] != list(query.samples):
        raise CertifyError(f"{decider!r} did not answer for each sample in order; a bug in the decider")
    shapes = {each.witness.shape for each in found if each.witness is not None} - {query.x.shape[1:]}
    if shapes:
        raise CertifyError(f"{decider!r} gives a witness of shape {shapes.pop()}; a bug in the decider")
    keep = torch.tensor([each.witness is not None for each in found], device=query.x.device)
    if not keep.any():
        return found
    part = query[keep]
    points = torch.stack([each.witness.to(part.x) for each in found if each.witness is not None])
    details = [each.detail for each in found if each.witness is not None]
    inside = part.reaches(points, details).tolist()
    p_values = query.model.p_values(points, part.y, part.samples, run, f"replay of {decider!r}")
    replayed = iter(zip(points.cpu(), inside, p_values, strict=True))
    return [each if each.witness is None else _confirmed(each, *next(replayed)) for each in found]


def _confirmed(evidence: Evidence, point: Tensor, inside: bool, p_value: float) -> Evidence:
    """Evidence with its witness as replayed, or without one that the replay rejected."""
    detail = evidence.detail if evidence.alpha == 0 else {**evidence.detail, "p_value": p_value}
    if inside and p_value <= evidence.alpha:
        return replace(evidence, witness=point, detail=detail)
    return replace(evidence, witness=None, detail={**detail, "replay": "rejected"})


def _clean_cases(query: Query, run: Run) -> list[_Case]:
    """The samples with their clean predictions; a tie or NaN is a wrong one."""
    predicted, right = query.model.predictions(query.x, query.y, query.samples, run)
    facts = zip(query.samples, query.x, query.y.tolist(), predicted.tolist(), right.tolist(), strict=True)
    return [_Case(*each) for each in facts]


def _classify(query: Query, cases: Sequence[_Case], run: Run) -> None:
    """The model's class at every counterexample."""
    keep = torch.tensor([case.witness is not None for case in cases], device=query.x.device)
    if keep.any():
        part = query[keep]
        points = torch.stack([case.witness.to(part.x) for case in cases if case.witness is not None])
        found, _ = query.model.predictions(points, part.y, part.samples, run)
        classes = iter(found.tolist())
        for case in cases:
            case.adversarial = None if case.witness is None else next(classes)


@dataclass(eq=False)
class _Case:
    """What is known of one sample while deciders are asked."""

    sample: int
    x: Tensor
    label: int
    predicted: int
    right: bool
    evidence: list[Evidence] = field(default_factory=list)
    proof: Evidence | None = None
    attack: Evidence | None = None
    witness: Tensor | None = None
    adversarial: int | None = None

    def open_to(self, decider: Decider, cross_check: bool) -> bool:
        if not self.right or self.attack is not None:
            return False
        return self.proof is None or (cross_check and decider.claims == {Claim.FALSIFIED})

    def add(self, evidence: Evidence, may_prove: bool) -> None:
        """Take a judged piece of evidence: its witness, if any, is a counterexample."""
        self.evidence.append(evidence)
        if evidence.witness is not None:
            self.attack, self.witness = evidence, evidence.witness
        if may_prove and proves(evidence):
            self.proof = evidence

    def result(self, query: Query, place: int, run: Run) -> SampleResult:
        contradicted = self._contradiction(query, place, run)
        verdict = self._verdict()
        settled = None if verdict is Verdict.ERROR else self.attack or self.proof
        margin, level = _best_margin([self.proof] if self.proof else self.evidence)
        return SampleResult(
            self.sample,
            self.label,
            self.predicted,
            verdict,
            by=None if settled is None else settled.decider,
            margin=None if contradicted else margin,
            level=None if contradicted else level,
            alpha=0.0 if settled is None else settled.alpha,
            witness=None if contradicted else self.witness,
            x=None if contradicted or self.witness is None else self.x.detach().cpu(),
            adversarial=None if contradicted else self.adversarial,
            evidence=tuple(self.evidence),
            contradiction=contradicted,
        )

    def _contradiction(self, query: Query, place: int, run: Run) -> contradiction.Reproducer | None:
        if self.proof is None or self.attack is None or self.witness is None:
            return None
        proof, attack = (contradiction.Side.of(query, place, each) for each in (self.proof, self.attack))
        return contradiction.found(query.model, self.sample, self.x, self.witness, proof, attack, run)

    def _verdict(self) -> Verdict:
        if not self.right:
            return Verdict.MISCLASSIFIED
        if self.attack is not None:
            return Verdict.FALSIFIED if self.proof is None else Verdict.ERROR
        if any(NONFINITE in each.detail for each in self.evidence):
            return Verdict.ERROR
        if self.proof is not None:
            return Verdict.VERIFIED
        failed = [FAILED in each.detail for each in self.evidence]
        return Verdict.ERROR if failed and all(failed) else Verdict.UNKNOWN


def _best_margin(evidence: Sequence[Evidence]) -> tuple[float | None, Level | None]:
    """The largest finite lower bound and its level."""
    found = [(e.margin, e.level) for e in evidence if e.margin is not None and math.isfinite(e.margin)]
    return max(found, key=lambda each: each[0], default=(None, None))
