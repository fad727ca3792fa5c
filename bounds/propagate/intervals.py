"""Interval bound propagation by itself (Gowal et al. 2018): no fact is kept that no later step needs."""

from __future__ import annotations

import torch

from bounds.graph import Graph
from bounds.interval import Interval
from bounds.kinds import Affine
from bounds.propagate.crown import spec_bounds
from bounds.propagate.facts import Facts, node_facts
from bounds.propagate.problem import Problem
from bounds.spec import Spec


def outputs(problem: Problem) -> Interval:
    """Bounds of the output, (batch, *output_shape) each."""
    return _facts(problem, {problem.graph.output})[problem.graph.output].interval.closed()


def rows(problem: Problem, spec: Spec) -> Interval:
    """Bounds of the rows of ``spec``, (batch, rows) each, with the last affine layers folded into them."""
    return spec_bounds(problem, _facts(problem, _folded(problem.graph)), spec, backward=False)


def _facts(problem: Problem, keep: set[int]) -> list[Facts]:
    """The facts of every node by interval analysis; those outside ``keep`` are without elements."""
    graph, region = problem.graph, problem.region
    facts = [Facts(region.box(), tight=True, box=region.is_box)]
    nothing = Facts(Interval(*(region.box().lower.new_empty(0),) * 2))
    changing = not torch.is_grad_enabled()
    owned = set[int]()  # nodes whose interval nothing else refers to
    for index, node in enumerate(graph.nodes[1:], start=1):
        ins = tuple(facts[i] for i in node.inputs)
        done = tuple(i for i in graph.ending[index] if i not in keep)
        spent = changing and len(done) == len(node.inputs) and owned.issuperset(done)
        here = node_facts(graph, node, ins, problem.level, False, cushioned=index in keep, spent=spent)
        if spent or (isinstance(node.op, Affine) and node.op.fresh):
            owned.add(index)
        else:
            owned.difference_update(node.inputs)  # the result may be a view of them
        facts.append(here)
        for source in done:
            facts[source] = nothing
    return facts


def _folded(graph: Graph) -> set[int]:
    """The nodes that rows over the output reach through affine operators alone."""
    found, stack = set[int](), [graph.output]
    while stack:
        index = stack.pop()
        if index not in found:
            found.add(index)
            stack.extend(graph.nodes[index].inputs if isinstance(graph.nodes[index].op, Affine) else ())
    return found
