"""The certifier of enumerated classifiers: count all votes, and how many of them a change can touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

import bounds
from bounds.rounding import Level
from certify.errors import UsageError
from certify.evidence import Claim, Evidence
from certify.model import Model
from certify.query import Query
from certify.run import Run
from certify.smoothing.derandomized.base import FiniteLaw
from certify.smoothing.derandomized.model import Enumerated, enumerate_votes, ordered
from certify.smoothing.engine import Classifier, Engine
from certify.smoothing.inputs import check_inputs
from certify.smoothing.modes.fixed import check_draws
from certify.smoothing.result import ABSTAIN
from certify.smoothing.votes import InMemory

_DEFAULT_RUN = Run()


@dataclass(frozen=True, eq=False)
class EnumerationResult:
    """Per sample: the label of the enumerated classifier, and the largest budget at which it stays.

    label: (batch,) int64, -1 where votes that rounding could flip decide. radius: (batch,) float64, in the
    unit of the law's own threat: pixels a side for ``Patch``, input units for ``L1``; the label holds at it,
    too. counts: (batch, classes) int64 votes that are certain at the level. unsure: (batch,) all others.
    lead: (batch,) by how many votes the label leads at least, a tie that it wins counted as 0.
    """

    label: Tensor
    radius: Tensor
    counts: Tensor
    unsure: Tensor
    lead: Tensor
    level: Level
    law: str


@dataclass(frozen=True)
class Derandomized:
    """Smoothing by all copies of a finite law: no sampling, and alpha = 0.

    A class that leads by ``lead`` votes keeps its lead if at most lead / 2 copies change, each of which may
    take a vote from it and give one to another; ties go to the first class (Levine & Feizi 2020, theorem 1).

    level: what is claimed of each vote. ``FLOAT``: it is the network's as executed, taken to be a function
    of the copy alone. ``REAL`` and ``DEPLOYED``: proved by bounds of the network on that one copy; a vote
    that is not proved counts against every label. batch_size: rows per forward pass; it changes no result
    and is no part of the identity.

    As a decider it answers queries about ``Enumerated`` models only. Evidence has the smallest margin of the
    model's scores, classes * votes - class, that the threat can lead to.
    Raises ``UsageError`` unless batch_size is an integer >= 1.
    """

    law: FiniteLaw
    level: Level = Level.REAL
    batch_size: int = field(default=1000, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_draws("batch_size", self.batch_size)

    def smoothed(self, model: Model) -> Enumerated:
        """The model that this certifier speaks about when it is given ``model``."""
        return Enumerated(model, self.law)

    def certify(
        self,
        model: Model | Classifier,
        x: Tensor,
        run: Run = _DEFAULT_RUN,
        samples: Sequence[int] | None = None,
    ) -> EnumerationResult:
        """Certify the enumerated version of ``model`` at each input.

        model: the base model, its ``Enumerated`` version, or, at level ``FLOAT``, any callable from
        (rows, *input_shape) to logits. x: (batch, *input_shape), float32 or float64, in input units.
        samples: ids of the inputs in their data set (default 0, 1, ...), for messages.
        Raises ``UsageError`` for bad inputs, inputs that do not fit the law, a model without a graph at a
        level above ``FLOAT``, one that is not deterministic, NaN logits, and another law's model.
        """
        ids = tuple(range(len(x)) if samples is None else samples)
        base = self._base(model)
        check_inputs(base, x, ids)
        x = x.to(run.device)
        counts, unsure = self._votes(base, x, ids, run)
        scores = ordered(counts)
        top = scores.argmax(1)
        lead = _lead(counts, unsure, top)
        shape = tuple(x.shape[1:])
        reach = [self.law.reach(max(each, 0) // 2, shape) for each in lead.tolist()]
        return EnumerationResult(
            label=torch.where(lead >= 0, top, ABSTAIN),
            radius=torch.tensor(reach, dtype=torch.float64).where(lead >= 0, 0.0),
            counts=counts,
            unsure=unsure,
            lead=lead,
            level=self.level,
            law=repr(self.law),
        )

    def _base(self, model: Model | Classifier) -> Model | Classifier:
        """The classifier that votes."""
        if isinstance(model, Enumerated):
            if model.law != self.law:
                raise UsageError(_other_law(model, self.law))
            return model.base
        return model

    def _votes(
        self, base: Model | Classifier, x: Tensor, ids: tuple[int, ...], run: Run
    ) -> tuple[Tensor, Tensor]:
        """Certain votes (batch, classes) and the number of the others (batch,)."""
        engine = Engine(base, self.law, self.batch_size, run, InMemory())
        classes = engine.probe(x[0], ids[0])
        if isinstance(base, Model) and base.num_classes != classes:
            raise UsageError(f"{base.name} returns {classes} logits, not {base.num_classes}")
        if self.level is Level.FLOAT:
            votes = enumerate_votes(base, self.law, x, ids, classes, self.batch_size, run)
            return votes, torch.zeros(len(x), dtype=torch.int64)
        proved = _Proved(base, _graph(base, self.level), self.level, run)
        votes = enumerate_votes(proved, self.law, x, ids, classes + 1, self.batch_size, run)
        return votes[:, :-1], votes[:, -1]

    @property
    def claims(self) -> frozenset[Claim]:
        """It can find robustness; too small a lead is no counterexample."""
        return frozenset({Claim.ROBUST})

    def supports(self, query: Query) -> str | None:
        """None for a model enumerated by this law under a threat that it bounds, else the reason."""
        model = query.model
        if not isinstance(model, Enumerated):
            return (
                f"{model.name} is not smoothed, and a smoothed classifier is another model; "
                f"ask about Enumerated(model, {self.law!r})"
            )
        if model.law != self.law:
            return _other_law(model, self.law)
        try:
            if self.level is not Level.FLOAT:
                _graph(model.base, self.level)
            changed = self.law.changed(query.threat, model.input_shape)
        except UsageError as error:
            return str(error)
        return None if changed is not None else f"{self.law!r} says nothing about {query.threat!r}"

    def decide(self, query: Query, run: Run) -> list[Evidence]:
        """One piece of evidence per sample, with certainty."""
        reason = self.supports(query)
        changed = None if reason else self.law.changed(query.threat, query.model.input_shape)
        if changed is None:
            raise UsageError(reason or "unsupported query")
        if not query.samples:
            return []
        result = self.certify(query.model, query.x, run, query.samples)
        labels = query.y.cpu()
        margins = _margins(result, labels, changed)
        return [
            Evidence(
                sample=sample,
                decider=repr(self),
                margin=float(margins[i]),
                level=self.level,
                detail={
                    "label": int(result.label[i]),
                    "radius": float(result.radius[i]),
                    "votes": int(result.counts[i, labels[i]]),
                    "copies": int(result.counts[i].sum() + result.unsure[i]),
                    "unsure": int(result.unsure[i]),
                    "changed": changed,
                    "law": result.law,
                    "domain": self.law.domain,
                },
            )
            for i, sample in enumerate(query.samples)
        ]


@dataclass(frozen=True, eq=False)
class _Proved:
    """A base classifier with one class more, which wins wherever bounds do not prove the vote."""

    base: Model | Classifier
    graph: bounds.Graph
    level: Level
    run: Run

    def __call__(self, z: Tensor) -> Tensor:
        logits = self.base(z).double()
        spec = bounds.margins(logits.argmax(1), logits.shape[1])
        point = bounds.Box(z, z)
        found = bounds.bound(self.graph, point, spec, "cascade", torch.float64, self.level, self.run.memory)
        sure = spec.worst(found.lower) > 0
        unsure = torch.where(sure.to(logits.device), -torch.inf, torch.inf)
        return torch.cat([logits, unsure[:, None].to(logits)], dim=1)


def _graph(base: Model | Classifier, level: Level) -> bounds.Graph:
    graph = base.graph if isinstance(base, Model) else None
    if graph is None:
        raise UsageError(
            f"level {level.value} needs the network's graph to prove votes; load it from ONNX or a module "
            "that can be traced, or use level float"
        )
    return graph


def _lead(counts: Tensor, unsure: Tensor, label: Tensor) -> Tensor:
    """The smallest lead of a label in votes, all unsure ones against it, less 1 where it loses a tie."""
    classes = torch.arange(counts.shape[1])
    own = counts.gather(1, label[:, None])
    leads = own - counts - unsure[:, None] - (classes < label[:, None]).long()
    return leads.masked_fill(classes == label[:, None], torch.iinfo(torch.int64).max).amin(1)


def _margins(result: EnumerationResult, label: Tensor, changed: int) -> Tensor:
    """Lower bounds of the smallest difference between the label's score and another's: float64 (batch,)."""
    classes = torch.arange(result.counts.shape[1])
    lost = (result.unsure + 2 * changed) * len(classes)
    scores = ordered(result.counts)
    margins = scores.gather(1, label[:, None]) - scores - lost[:, None]
    return margins.masked_fill(classes == label[:, None], torch.iinfo(torch.int64).max).amin(1).double()


def _other_law(model: Enumerated, law: FiniteLaw) -> str:
    return f"{model.name} is smoothed by {model.law!r}, not by {law!r}; use the same law"
