"""Several operators on one value that are one scalar function together, put in as that function.

A product of two branches is bounded by planes over a box, though both branches may come from one value. As a
function of that value it has lines of its own, which are far tighter. Front ends write some functions out:
``x * sigmoid(x)`` is SiLU, ``x / (1 + |x|)`` is softsign, ``x * (1 + erf(x / sqrt 2))`` is twice GELU.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bounds.graph import Builder, Graph, Ref
from bounds.kinds import Operator, Tensors
from bounds.linear import Shape
from bounds.ops.convex import Softplus
from bounds.ops.elementwise import Add, Divide, Negate, Scale, Shift
from bounds.ops.gates import ErfGate, Mish, SiLU
from bounds.ops.power import Power
from bounds.ops.product import Mul
from bounds.ops.relu import Abs
from bounds.ops.sshape import Erf, Sigmoid, Softsign, Tanh, Tanhshrink

_LONGEST = 3
Step = tuple[Operator, Tensors]


@dataclass(frozen=True, eq=False)
class _Link:
    """One operator of a chain: what it is, its only scalar parameter if it has one, and its node."""

    op: Operator
    number: float | None
    index: int


def fused(graph: Graph) -> Graph:
    """The same function, equal in exact arithmetic, with such operators fused; itself if there are none."""
    found = {i: match for i in range(1, len(graph.nodes)) if (match := _match(graph, i)) is not None}
    if not found:
        return graph
    builder = Builder(graph.input_shape)
    refs: list[Ref] = [builder.input]
    for index, node in enumerate(graph.nodes[1:], start=1):
        if index not in found:
            refs.append(builder.apply(node.op, [refs[i] for i in node.inputs], node.params, node.name))
            continue
        source, steps = found[index]
        here = refs[source]
        for op, params in steps:
            here = builder.apply(op, (here,), params, node.name)
        refs.append(here)
    return builder.build(refs[graph.output])


def _match(graph: Graph, index: int) -> tuple[int, list[Step]] | None:
    """From which node the fused operators lead to this one, and those operators."""
    node = graph.nodes[index]
    if not isinstance(node.op, Mul | Add):
        return None
    for factor, branch in (node.inputs, node.inputs[::-1]):
        links = _chain(graph, branch, factor, node.shape)
        found = (_gate if isinstance(node.op, Mul) else _difference)(graph, links) if links else None
        if found is not None:
            return found
        scale = graph.nodes[factor]
        if isinstance(node.op, Mul) and isinstance(scale.op, Scale) and scale.shape == node.shape:
            # (k x) g(x) is k (x g(x)).
            links = _chain(graph, branch, scale.inputs[0], node.shape)
            found = _gate(graph, links) if links else None
            if found is not None:
                return found[0], [*found[1], (scale.op, scale.params)]
    return None


def _chain(graph: Graph, index: int, root: int, shape: Shape) -> list[_Link]:
    """The operators of one input each that lead from ``root`` to a node, first to last; empty if none do."""
    links: list[_Link] = []
    while index != root:
        node = graph.nodes[index]
        if len(links) == _LONGEST or len(node.inputs) != 1 or node.shape != shape:
            return []
        links.insert(0, _Link(node.op, _number(node.params), index))
        (index,) = node.inputs
    return links


def _number(params: Tensors) -> float | None:
    """The value of a parameter that is one number, however often it is repeated, and not to be trained."""
    if len(params) != 1 or isinstance(params[0], nn.Parameter) or params[0].numel() == 0:
        return None
    values: Tensor = params[0].flatten()
    return float(values[0]) if bool((values == values[0]).all()) else None


def _difference(graph: Graph, links: list[_Link]) -> tuple[int, list[Step]] | None:
    """x plus a chain on x."""
    (root,) = graph.nodes[links[0].index].inputs
    match [link.op for link in links]:
        case [Tanh(), Negate()]:
            return root, [(Tanhshrink(), ())]
    return None


def _gate(graph: Graph, links: list[_Link]) -> tuple[int, list[Step]] | None:
    """``x`` times a chain on x."""
    (root,) = graph.nodes[links[0].index].inputs
    match [(link.op, link.number) for link in links]:
        case [(Sigmoid(), _)]:
            return root, [(SiLU(), ())]
        case [(Scale() as scale, float(rate)), (Sigmoid(), _)] if type(scale) is Scale and rate != 0:
            # x sigmoid(rate x) is SiLU(rate x) / rate.
            return links[0].index, [(SiLU(), ()), (Divide(), graph.nodes[links[0].index].params)]
        case [(Softplus(beta=1.0) as softplus, _), (Tanh(), _)] if not softplus.breaks:
            return root, [(Mish(), ())]
        case [(Abs(), _), (Shift() as shift, 1.0), (Power(exponent=-1.0), _)] if type(shift) is Shift:
            return root, [(Softsign(), ())]
        case [(Scale() as scale, float(rate)), (Erf(), _), (Shift() as shift, 1.0)] if type(shift) is Shift:
            width = rate if isinstance(scale, Divide) else 1 / rate if rate else 0.0
            return (root, [(ErfGate(width), ())]) if width > 0 else None
    return None
