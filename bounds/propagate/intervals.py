"""Interval bound propagation by itself (Gowal et al. 2018): no fact is kept that no later step needs."""

from __future__ import annotations

import torch

from bounds.graph import Graph
from bounds.interval import Interval
from bounds.kinds import Affine
from bounds.propagate.crown import spec_bounds
from bounds.propagate.facts import Facts, affine_interval, node_facts
from bounds.propagate.problem import Problem
from bounds.rounding import Level
from bounds.spec import Spec


def outputs(problem: Problem) -> Interval:
    """Bounds of the output, (batch, *output_shape) each; NaN where nothing is known."""
    return _facts(problem, {problem.graph.output})[problem.graph.output].interval


def rows(problem: Problem, spec: Spec) -> Interval:
    """Bounds of the rows of ``spec``, (batch, rows) each, with the last affine layers folded into them."""
    return spec_bounds(problem, _facts(problem, _folded(problem.graph)), spec, backward=False)


def _facts(problem: Problem, keep: set[int]) -> list[Facts]:
    """The facts of every node by interval analysis; those outside ``keep`` are without elements."""
    graph, region, floats = problem.graph, problem.region, problem.level is Level.FLOAT
    facts = [Facts(region.box(), tight=True, box=region.is_box)]
    nothing = Facts(Interval(*(region.box().lower.new_empty(0),) * 2))
    changing = not torch.is_grad_enabled()
    owned = set[int]()  # nodes whose interval nothing else refers to
    for index, node in enumerate(graph.nodes[1:], start=1):
        op, ins = node.op, tuple([facts[i] for i in node.inputs])
        done = [i for i in graph.ending[index] if i not in keep]
        spent = changing and len(done) == len(ins) and owned.issuperset(done)
        if floats and isinstance(op, Affine):  # nobody asks here what else is known of the node
            here = Facts(affine_interval(op, [f.interval for f in ins], node.params, spent))
        else:
            here = node_facts(graph, node, ins, problem.level, False, cushioned=index in keep, spent=spent)
        if spent or (isinstance(op, Affine) and op.fresh):
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
