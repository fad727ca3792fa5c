"""ONNX files -> networks: a list of affine steps and functions, each on the values of earlier ones.

Batches have one sample; values are flat. What is not known is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from bounds.proof.arithmetic import Arithmetic
from bounds.proof.format import Array
from bounds.proof.functions import Function, Relu
from bounds.proof.protobuf import Node
from bounds.proof.refused import Refused
from bounds.proof.steps import Affine, Pick, Scale, Sum

MOST = 2**26  # elements of one value


@dataclass(frozen=True, eq=False)
class Step:
    """What makes a value from earlier ones. name: of the operator, for messages."""

    does: Affine | Function
    inputs: tuple[int, ...]
    size: int
    name: str


@dataclass(frozen=True, eq=False)
class Network:
    """Value 0 is the input, of so many elements; step k makes value k + 1."""

    inputs: int
    steps: tuple[Step, ...]
    output: int

    @property
    def functions(self) -> list[int]:
        """The indices of the nonlinear steps, in order; splits count them from 1."""
        return [k for k, step in enumerate(self.steps) if isinstance(step.does, Function)]

    def size(self, value: int) -> int:
        """The number of elements of a value."""
        return self.steps[value - 1].size if value else self.inputs


@dataclass(frozen=True)
class Value:
    """Value number ``index`` of the network, seen in some shape."""

    index: int
    shape: tuple[int, ...]


class Attributes:
    """A node's attributes; those that nobody asked for are refused, since they might mean something."""

    def __init__(self, node: Node) -> None:
        self._left, self.place = dict(node.attributes), f"{node.op} {node.name!r}"

    def take(self, name: str, default: Any = None) -> Any:
        """The attribute or its default."""
        return self._left.pop(name, default)

    def expect(self, name: str, *allowed: object) -> None:
        """Refuse an attribute with any other value than these; it may be absent."""
        if name in self._left and self._left.pop(name) not in allowed:
            raise Refused(self.place, f"attribute {name} has a value that is not supported")

    def done(self) -> None:
        """Refuse what is left."""
        if self._left:
            raise Refused(self.place, f"unknown attribute {min(self._left)!r}")


Argument = Value | Array | None
Handler = Callable[["Reader", Attributes, list[Argument]], "Value | Array | list[Value | Array]"]


class Operators(dict[str, Handler]):
    """How operators are read, by name."""

    def reads(self, *names: str) -> Callable[[Handler], Handler]:
        """Register what reads some operators."""

        def register(handler: Handler) -> Handler:
            self.update(dict.fromkeys(names, handler))
            return handler

        return register


@dataclass(eq=False)
class Reader:
    """One walk over a file's nodes. operators: how each is read."""

    a: Arithmetic
    opset: int
    operators: Mapping[str, Handler]
    values: dict[str, Value | Array]
    steps: list[Step] = field(default_factory=list)

    def visit(self, node: Node) -> None:
        """Read one operator."""
        attributes = Attributes(node)
        place = attributes.place
        if node.op not in self.operators:
            raise Refused(place, "this operator is not supported by the checker")
        missing = [name for name in node.inputs if name and name not in self.values]
        if missing:
            raise Refused(place, f"nothing before it makes its input {missing[0]!r}")
        args = [self.values[name] if name else None for name in node.inputs]
        self.place = place
        try:
            made = self.operators[node.op](self, attributes, args)
        except (ValueError, IndexError, TypeError, AttributeError, MemoryError) as error:
            raise Refused(place, "its inputs are not what the operator takes") from error
        attributes.done()
        results = made if isinstance(made, list) else [made]
        if len([name for name in node.outputs if name]) > len(results):
            raise Refused(place, "it has outputs that are not supported")
        for name, value in zip(node.outputs, results, strict=False):
            if name in self.values:
                raise Refused(place, f"its output {name!r} has the name of another value")
            self.values[name] = value

    def refuse(self, reason: str) -> Refused:
        """Refusal of the operator at hand."""
        return Refused(self.place, reason)

    def room(self, shape: Sequence[int]) -> int:
        """How many elements a shape has; refuse more than anything real."""
        if prod(shape) > MOST:
            raise self.refuse(f"its value has more than {MOST} elements")
        return prod(shape)

    def add(self, does: Affine | Function, xs: list[Value], shape: tuple[int, ...]) -> Value:
        """One more step."""
        size = self.room(shape)
        self.steps.append(Step(does, tuple(x.index for x in xs), size, self.place))
        return Value(len(self.steps), shape)

    def moved(self, x: Value | Array, move: Callable[[Array], Array]) -> Value | Array:
        """Elements of x moved, dropped or repeated; -1 for a zero."""
        if not isinstance(x, Value):
            return move(x)
        size = prod(x.shape)
        places = np.asarray(move(np.arange(size).reshape(x.shape)))
        self.room(places.shape)
        flat = places.reshape(-1)
        if np.array_equal(flat, np.arange(size)):
            return Value(x.index, places.shape)
        return self.add(Pick(flat, (size,)), [x], places.shape)

    def value(self, x: Value | Array | None) -> Value:
        """An argument that must depend on the input."""
        if not isinstance(x, Value):
            raise self.refuse("an input that should be a value is a constant or absent")
        return x

    def constant(self, x: Value | Array | None) -> Array:
        """An argument that must be a constant."""
        if x is None or isinstance(x, Value):
            raise self.refuse("an input that should be a constant is not one, or absent")
        return x

    def integers(self, x: Value | Array | None) -> list[int]:
        """An argument that must be constant integers."""
        found = self.constant(x)
        if found.dtype != np.int64:
            raise self.refuse("an input should consist of integers")
        return [int(n) for n in found.reshape(-1)]

    def spread(self, x: Value, shape: tuple[int, ...]) -> Value:
        """x broadcast to a shape."""
        return self.value(self.moved(x, lambda i: np.broadcast_to(i, shape)))

    def scaled(self, x: Value, weight: object, bias: object, **more: Any) -> Value:
        """``weight x + bias``, elementwise, with constants that are numbers of the arithmetic or None."""
        one = self.a.array(1.0)
        w, b = one if weight is None else np.asarray(weight), None if bias is None else np.asarray(bias)
        shape = np.broadcast_shapes(x.shape, w.shape, () if b is None else b.shape)
        x = self.spread(x, shape)
        flat = [None if v is None else np.broadcast_to(v, shape).reshape(-1) for v in (w, b)]
        return self.add(Scale(weight=flat[0], bias=flat[1], **{"executed": 2, **more}), [x], shape)  # type: ignore[arg-type]

    def sum(self, x: Value, y: Value, sign: int, executed: int = 2) -> Value:
        """``x + sign y``."""
        shape = np.broadcast_shapes(x.shape, y.shape)
        both = [self.spread(x, shape), self.spread(y, shape)]
        return self.add(Sum(signs=(1, sign), executed=executed), both, shape)

    def largest(self, xs: list[Value]) -> Value:
        """The elementwise largest of values of one shape: ``max(x, y) = y + relu(x - y)``, pair by pair."""
        while len(xs) > 1:
            pairs = zip(xs[::2], xs[1::2], strict=False)
            xs = [self._larger(x, y) for x, y in pairs] + ([xs[-1]] if len(xs) % 2 else [])
        return xs[0]

    def _larger(self, x: Value, y: Value) -> Value:
        over = self.add(Relu(), [self.sum(x, y, -1, executed=0)], x.shape)
        return self.sum(y, over, 1, executed=0)
