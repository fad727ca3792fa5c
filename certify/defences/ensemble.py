"""Several models that answer together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

import bounds
from bounds.ops.elementwise import Add, Divide
from certify.defences.base import check_plain, combined_digest
from certify.defences.bpda import softmax_for_attacks, straight_through
from certify.errors import UsageError
from certify.model import Model


class Rule(ABC):
    """How the answers of several models become one: a frozen dataclass."""

    def of(self, *members: Model) -> Ensemble:
        """The ensemble; raises ``UsageError`` where the members do not fit together."""
        return Ensemble(members, self)

    @abstractmethod
    def combine(self, logits: Tensor) -> Tensor:
        """(members, batch, classes) -> (batch, classes)."""

    def graph(self, graphs: Sequence[bounds.Graph]) -> bounds.Graph | None:
        """The same function for the engine; None where it cannot be expressed."""
        return None


@dataclass(frozen=True)
class MeanLogits(Rule):
    """The mean of the logits; the engine bounds it as it is."""

    def combine(self, logits: Tensor) -> Tensor:
        return logits.mean(0)

    def graph(self, graphs: Sequence[bounds.Graph]) -> bounds.Graph | None:
        if len({graph.output_shape for graph in graphs}) > 1:
            return None
        builder = bounds.Builder(graphs[0].input_shape)
        total, *others = [builder.inlined(graph, builder.input) for graph in graphs]
        for other in others:
            total = builder.apply(Add(), [total, other], (), "ensemble")
        return builder.build(builder.apply(Divide(), [total], (torch.tensor(float(len(graphs))),), "mean"))


@dataclass(frozen=True)
class MeanProbabilities(Rule):
    """The logarithm of the mean of the softmax probabilities."""

    def combine(self, logits: Tensor) -> Tensor:
        return logits.log_softmax(2).logsumexp(0) - torch.tensor(float(len(logits))).log().to(logits)


@dataclass(frozen=True)
class MajorityVote(Rule):
    """The number of members that a class is the first of; a tie of classes is a tie.

    Gradient attacks see the mean probability, each member's at a temperature that does not saturate.
    A member votes for nobody where one of its logits is NaN: the counts are NaN, too.
    """

    def combine(self, logits: Tensor) -> Tensor:
        with torch.no_grad():
            counts = torch.zeros_like(logits).scatter_(2, logits.argmax(2, keepdim=True), 1.0)
            counts = torch.where(logits.isnan().any(2, keepdim=True), torch.nan, counts).sum(0)
        stand_in = torch.stack([softmax_for_attacks(each) for each in logits]).sum(0)
        return straight_through(counts, stand_in)


@dataclass(frozen=True, eq=False, init=False)
class Ensemble(Model):
    """Models of the same inputs and classes that answer together by a rule: another model.

    Raises ``UsageError`` for fewer than two members, for members of different shapes, classes or input
    ranges, and for one that answers by sampling.
    """

    members: tuple[Model, ...]
    rule: Rule

    def __init__(self, members: Sequence[Model], rule: Rule) -> None:
        if len(members) < 2:
            raise UsageError(f"an ensemble has at least two members, not {len(members)}")
        first = members[0]
        for other in members:
            check_plain(other, repr(rule))
            for what in ("input_shape", "num_classes", "input_range"):
                if getattr(other, what) != getattr(first, what):
                    raise UsageError(
                        f"{other.name} has {what} {getattr(other, what)}, and {first.name} has "
                        f"{getattr(first, what)}; members of an ensemble agree"
                    )
        graphs = [each.graph for each in members if each.graph is not None]
        super().__init__(
            forward=lambda x: rule.combine(torch.stack([each(x) for each in members])),
            graph=rule.graph(graphs) if len(graphs) == len(members) else None,
            input_shape=first.input_shape,
            num_classes=first.num_classes,
            input_range=first.input_range,
            name=f"{rule!r} of {', '.join(each.name for each in members)}",
            digest=combined_digest("ensemble", repr(rule), *members),
        )
        object.__setattr__(self, "members", tuple(members))
        object.__setattr__(self, "rule", rule)

    def to(self, device: torch.device | str) -> Ensemble:
        return Ensemble([each.to(device) for each in self.members], self.rule)
