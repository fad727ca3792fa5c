"""Which alternatives of a clause a bound speaks of: the best one, or a mixture that the engine has found."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bounds.graph import Builder, Graph, Ref
from bounds.proof.basics import Array
from bounds.proof.format import Part
from bounds.propagate import alpha
from bounds.propagate.forms import Forms, Layout
from bounds.propagate.rows import lower_bounds
from bounds.propagate.turns import turns
from bounds.search.bounding import Bounded, begun
from bounds.search.clauses import ALTERNATIVES
from bounds.sets import Box


@dataclass(frozen=True)
class Question:
    """What a search's question is about: a part of the statement, and some of its clauses, each with so many
    alternatives."""

    part: int
    clauses: tuple[int, ...]
    alternatives: tuple[int, ...]

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where the alternatives of each clause lie among those of all."""
        return list(itertools.pairwise(itertools.accumulate(self.alternatives, initial=0)))


@dataclass(frozen=True, eq=False)
class Mixing:
    """The weights of alternatives, and the engine's rows whose choices go with them.

    tail: from the alternatives on, where the engine's network was continued to the largest of each clause;
    None where its rows are the alternatives themselves. first: the index of the tail's input. widths: of
    all clauses in the tail, where short ones repeat their first alternative.
    """

    tail: Graph | None
    first: int
    width: int

    @classmethod
    def none(cls) -> Mixing:
        """Where rows are alternatives themselves."""
        return cls(None, 0, 0)

    @classmethod
    def of(cls, graph: Graph, part: Part) -> Mixing:
        """Of a graph that was continued for the clauses of a part, see ``joined``."""
        first = max(k for k, node in enumerate(graph.nodes) if node.name == ALTERNATIVES)
        builder = Builder(graph.nodes[first].shape)
        refs: dict[int, Ref] = {first: builder.input}
        for index, node in enumerate(graph.nodes[first + 1 :], start=first + 1):
            refs[index] = builder.apply(node.op, [refs[i] for i in node.inputs], node.params, node.name)
        return cls(builder.build(refs[graph.output]), first, max(len(clause.rows) for clause in part.clauses))

    def of_domains(self, found: Bounded, mine: Tensor, question: Question) -> tuple[Array, Array]:
        """Weights (mine, alternatives) and rows (mine, clauses) for some domains of one question."""
        weights = np.zeros((len(mine), sum(question.alternatives)), np.float32)
        if self.tail is None:
            bounds = found.rows[mine].cpu().numpy()
            rows = np.stack([a + bounds[:, a:b].argmax(1) for a, b in question.spans], 1)
            np.put_along_axis(weights, rows, 1.0, 1)
            return weights, rows
        mixed = self._mixed(self.tail, found, mine, question)
        for k, (clause, (a, b)) in enumerate(zip(question.clauses, question.spans, strict=True)):
            here = mixed[:, k, clause * self.width : (clause + 1) * self.width]
            weights[:, a:b] = here[:, : b - a]
            weights[:, a] += here[:, b - a :].sum(1)
        return weights, np.arange(len(question.clauses))[None].repeat(len(mine), 0)

    def _mixed(self, tail: Graph, found: Bounded, mine: Tensor, question: Question) -> Array:
        """What the rows of domains make of the alternatives: (mine, clauses, alternatives of all)."""
        facts = [fact.of(mine) for fact in found.facts[self.first :]]
        like = facts[0].interval
        layout = Layout(torch.arange(len(mine)), len(question.clauses))
        rows = torch.eye(tail.output_shape[0]).to(like.lower)[list(question.clauses)].repeat(len(mine), 1)
        free = turns(tail, facts, layout)
        known = {
            (kind, node - self.first, side): x[mine] for (kind, node, side), x in found.domains.chosen.items()
        }
        chosen = [begun(turn, known) for turn in free]
        forms, record = Forms(layout, rows.new_zeros(len(rows)), slack=None), dict[int, Tensor]()
        own, region = alpha.owned(free, chosen, rounded=False), Box(like.lower, like.upper)
        lower_bounds(tail, facts, region, tail.output, rows, forms, own=own, record=record)
        weights: Array = record[0].view(len(mine), len(question.clauses), -1).cpu().numpy().clip(0)
        return weights
