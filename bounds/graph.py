"""The computation graph that all analyses walk: frozen, topological, batch on axis 0."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from bounds.errors import BoundsError, InvalidGraph, InvalidInput
from bounds.kinds import Affine, Composite, Input, Known, Operator, Tensors
from bounds.linear import Shape


@dataclass(frozen=True, eq=False)
class Node:
    """One application of an operator.

    inputs: indices of earlier nodes. params: constant or live parameter tensors. shape: of one sample.
    name: where it comes from, for messages.
    """

    op: Operator
    inputs: tuple[int, ...]
    params: Tensors
    shape: Shape
    name: str


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in topological order; node 0 is the input, ``output`` the index of the result.

    users: the nodes that take each node as an input; ending: the inputs of each node that no later one takes.
    fixed: whether its parameters are its own, for nobody to edit, so that what is made of them may be kept.

    Calling it evaluates it: x (batch, *input_shape) -> (batch, *output_shape), in the dtype of x.
    Parameters stay live unless they are fixed: a graph traced from a module follows its training.
    """

    nodes: tuple[Node, ...]
    output: int
    fixed: bool = False
    users: tuple[tuple[int, ...], ...] = field(init=False, repr=False)
    ending: tuple[tuple[int, ...], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check(self)
        users: list[list[int]] = [[] for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for source in dict.fromkeys(node.inputs):
                users[source].append(index)
        ending = [
            tuple(source for source in dict.fromkeys(node.inputs) if users[source][-1] == index)
            for index, node in enumerate(self.nodes)
        ]
        object.__setattr__(self, "users", tuple(map(tuple, users)))
        object.__setattr__(self, "ending", tuple(ending))

    @cached_property
    def affine(self) -> Mapping[int, Affine]:
        """The affine operators, by node."""
        return {i: node.op for i, node in enumerate(self.nodes) if isinstance(node.op, Affine)}

    @property
    def magnitudes(self) -> Mapping[int, Tensors]:
        """``|W|`` of affine nodes, not to be edited; kept where parameters are fixed, and empty elsewhere.

        Not for whoever trains the parameters after all; edits of them in place are seen.
        """
        if not self._keeps:
            return {}
        edits = [p._version for p in self._params]
        if not self._kept or self._kept[0][0] != edits:
            with torch.inference_mode(False), torch.no_grad():
                found = {i: op.magnitudes(self.nodes[i].params) for i, op in self.affine.items()}
            self._kept[:] = [(edits, found)]
        return self._kept[0][1]

    @cached_property
    def _kept(self) -> list[tuple[list[int], Mapping[int, Tensors]]]:
        """At most one: magnitudes, and how often each parameter had been edited then."""
        return []

    @cached_property
    def _keeps(self) -> bool:
        """Whether magnitudes are kept. Tensors of inference mode do not count their edits."""
        return self.fixed and not any(p.is_inference() for p in self._params)

    @cached_property
    def _composite(self) -> bool:
        """Whether any operator is a combination of others."""
        return any(isinstance(node.op, Composite) for node in self.nodes)

    @cached_property
    def spendable(self) -> frozenset[int]:
        """The nodes whose values come in memory of their own, for one other node alone."""
        return frozenset(i for i, node in enumerate(self.nodes) if node.op.fresh and len(self.users[i]) == 1)

    @cached_property
    def _params(self) -> Tensors:
        """The parameters of all nodes."""
        return tuple(p for node in self.nodes for p in node.params)

    @cached_property
    def _fixed_kinds(self) -> set[tuple[torch.dtype, torch.device]]:
        return _kinds(self._params)

    @property
    def input_shape(self) -> Shape:
        """Shape of one input sample."""
        return self.nodes[0].shape

    @property
    def output_shape(self) -> Shape:
        """Shape of one output."""
        return self.nodes[self.output].shape

    def __call__(self, x: Tensor) -> Tensor:
        return self.values(x)[self.output]

    def values(self, x: Tensor) -> list[Tensor]:
        """The value of every node at x; raises ``InvalidInput`` if x has another shape."""
        if tuple(x.shape[1:]) != self.input_shape:
            raise InvalidInput(
                f"x has shape {tuple(x.shape)}; the graph expects (batch, *{self.input_shape})"
            )
        values = [x]
        for node in self.nodes[1:]:
            params = tuple(p.to(x.dtype) for p in node.params)
            values.append(node.op.value(tuple(values[i] for i in node.inputs), params))
        return values

    def map_params(self, change: Callable[[Tensor], Tensor]) -> Graph:
        """The same graph with every parameter tensor changed, e.g. cast or moved; autograd follows."""
        nodes = tuple(replace(n, params=tuple(change(p) for p in n.params)) for n in self.nodes)
        return Graph(nodes, self.output)

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Graph:
        """The same graph with parameters in another dtype or on another device; itself where they are so."""
        where = None if device is None else torch.device(device)
        for now, here in self._fixed_kinds if self.fixed else _kinds(self._params):
            if (dtype and now is not dtype) or (where and here != where):
                return replace(self.map_params(lambda p: p.to(device=device, dtype=dtype)), fixed=self.fixed)
        return self

    def prepend(self, steps: Sequence[tuple[Operator, Tensors, str]], input_shape: Shape) -> Graph:
        """The graph behind a chain of one-input operators, such as a normalisation."""
        builder = Builder(input_shape)
        here = builder.input
        for op, params, name in steps:
            here = builder.apply(op, (here,), params, name)
        return builder.build(builder.inlined(self, here))

    def expanded(self) -> Graph:
        """The same function with every composite operator taken apart; itself if there is none."""
        graph = self
        while graph._composite:
            graph = _taken_apart(graph)
        return graph

    def digest(self) -> str:
        """SHA-256 over structure and exact parameter values, in hex; names do not count."""
        h = hashlib.sha256()
        for node in self.nodes:
            h.update(f"{node.op!r}|{node.inputs}|{node.shape}|".encode())
            for p in node.params:
                h.update(f"{p.dtype}{tuple(p.shape)}".encode())
                h.update(p.detach().cpu().contiguous().numpy().tobytes())
        h.update(f"->{self.output}".encode())
        return h.hexdigest()


@dataclass(frozen=True)
class Ref:
    """A node under construction: its index and the shape of one sample."""

    index: int
    shape: Shape


class Builder:
    """Builds a graph node by node; shapes are inferred by running each operator on empty tensors."""

    def __init__(self, input_shape: Shape) -> None:
        """Start with the input alone."""
        self._nodes = [Node(Input(), (), (), tuple(input_shape), "input")]

    @property
    def input(self) -> Ref:
        """The input node."""
        return Ref(0, self._nodes[0].shape)

    def ref(self, index: int) -> Ref:
        """A node that is there already."""
        return Ref(index, self._nodes[index].shape)

    def node(self, ref: Ref) -> Node:
        """A node as it stands; its inputs are those of this builder."""
        return self._nodes[ref.index]

    def apply(self, op: Operator, inputs: Sequence[Ref], params: Tensors = (), name: str = "") -> Ref:
        """Add a node; raises ``InvalidGraph`` naming it if the shapes do not fit."""
        shape = _infer(op, [r.shape for r in inputs], params, name or op.name)
        self._nodes.append(Node(op, tuple(r.index for r in inputs), params, shape, name or op.name))
        return Ref(len(self._nodes) - 1, shape)

    def inlined(self, graph: Graph, root: Ref) -> Ref:
        """Add a copy of a whole graph with ``root`` in place of its input; the reference of its output.

        Raises ``InvalidGraph`` if ``root`` has another shape than the graph's input.
        """
        if root.shape != graph.input_shape:
            raise InvalidGraph(
                f"a prefix gives shape {root.shape}, but the graph expects {graph.input_shape}"
            )
        refs = [root]
        for node in graph.nodes[1:]:
            refs.append(self.apply(node.op, [refs[i] for i in node.inputs], node.params, node.name))
        return refs[graph.output]

    def build(self, output: Ref) -> Graph:
        """The graph of everything that ``output`` depends on.

        Raises ``InvalidGraph`` where a weight is NaN or Inf.
        """
        keep = {0}
        stack = [output.index]
        while stack:
            index = stack.pop()
            if index not in keep or index == 0:
                keep.add(index)
                stack.extend(self._nodes[index].inputs)
        order = sorted(keep)
        new = {old: i for i, old in enumerate(order)}
        nodes = tuple(
            replace(self._nodes[i], inputs=tuple(new[j] for j in self._nodes[i].inputs)) for i in order
        )
        graph = Graph(nodes, new[output.index])
        _check_weights(graph)
        return graph


def _taken_apart(graph: Graph) -> Graph:
    builder = Builder(graph.input_shape)
    refs = [builder.input]
    for node in graph.nodes[1:]:
        ins = [refs[i] for i in node.inputs]
        if isinstance(node.op, Composite):
            whole = node.op.parts(builder, ins, node.params, node.name)
            refs.append(builder.apply(Known(node.op), (whole, *ins), (), node.name))
        else:
            refs.append(builder.apply(node.op, ins, node.params, node.name))
        if refs[-1].shape != node.shape:
            raise InvalidGraph(f"the parts of {node.op.name} at {node.name!r} give shape {refs[-1].shape}")
    return builder.build(refs[graph.output])


def _kinds(params: Tensors) -> set[tuple[torch.dtype, torch.device]]:
    """In which dtypes parameters are, and where."""
    return {(p.dtype, p.device) for p in params}


def _infer(op: Operator, ins: Sequence[Shape], params: Tensors, name: str) -> Shape:
    """The output shape of one sample, by running it on a batch of two zeros to see the batch axis.

    Not on the meta device: its first use takes seconds, for torch then loads its compiler.
    """
    device = params[0].device if params else torch.device("cpu")
    xs = tuple(torch.zeros(2, *shape, dtype=torch.float32, device=device) for shape in ins)
    try:
        with torch.no_grad():
            y = op.value(xs, tuple(p.detach().to(torch.float32) for p in params))
    except BoundsError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise InvalidGraph(
            f"node {name!r} ({op.name}) does not accept inputs of shape {', '.join(map(str, ins))}: {error}"
        ) from error
    if y.dim() == 0 or y.shape[0] != 2:
        raise InvalidGraph(f"node {name!r} ({op.name}) moves or removes the batch axis; keep it as axis 0")
    return tuple(y.shape[1:])


def _check(graph: Graph) -> None:
    """Well-formedness, checked whenever a graph is made, so after every pass."""
    if not graph.nodes or not isinstance(graph.nodes[0].op, Input):
        raise InvalidGraph("a graph begins with its input node")
    if not 0 <= graph.output < len(graph.nodes):
        raise InvalidGraph(f"output {graph.output} is not a node of the graph")
    for index, node in enumerate(graph.nodes):
        if index > 0 and isinstance(node.op, Input):
            raise InvalidGraph(f"node {node.name!r} is a second input; one input is supported")
        if index > 0 and not node.inputs:
            raise InvalidGraph(f"node {node.name!r} has no inputs; constants belong into params")
        if any(not 0 <= i < index for i in node.inputs):
            raise InvalidGraph(f"node {node.name!r} takes an input that does not come before it")


def _check_weights(graph: Graph) -> None:
    for node in graph.nodes:
        for p in node.params:
            if p.device.type != "meta" and p.is_floating_point() and not p.isfinite().all():
                raise InvalidGraph(f"node {node.name!r} ({node.op.name}) has weights that are NaN or Inf")
