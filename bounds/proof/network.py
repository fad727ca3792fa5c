"""Networks: affine steps and functions, each on values of earlier ones; and what readers of operators share.

Batches have one sample; values are flat. What is not known is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from bounds.proof.arithmetic import Floats
from bounds.proof.basics import Array, Refused, refuse
from bounds.proof.functions import Function
from bounds.proof.steps import Affine, Dense, Pick, Scale, Sum

Shape = tuple[int, ...]
Values = tuple[int, ...]  # by index
# Name, place, inputs, outputs and attributes of an operator: floats, ints, bytes, arrays or lists of ints.
Node = tuple[str, str, tuple[str, ...], tuple[str, ...], dict[str, Any]]
MOST = 2**28  # elements of all values of a network, of what is moved to make them, of operators' constants


@dataclass(frozen=True, eq=False)
class Step:
    """What makes a value from earlier ones.

    rows: of a function, the values that rows ought to bound for it, which nothing but tightness hangs on.
    """

    does: Affine | Function
    inputs: Values
    size: int
    rows: Values


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
    shape: Shape


Made = Value | Array
Input = Made | None
Handler = Callable[..., Made | list[Made]]  # of a reader, and the inputs


@dataclass(eq=False)
class Reader:
    """One walk over a file's nodes.

    deployed: whether float32 executions are spoken of. operators: how each is read. op, place: the one at
    hand. left: its attributes that nobody has asked for. used: elements so far, at most ``MOST``, less
    those of stored constants, each of which may enter one operator for nothing. entry: the network's input.
    """

    a: Floats
    deployed: bool
    opset: int
    operators: Mapping[str, Handler]
    values: dict[str, Made]
    entry: Value
    steps: list[Step] = field(default_factory=list)
    op: str = ""
    place: str = "model"
    left: dict[str, Any] = field(default_factory=dict)
    used: int = 0

    def visit(self, node: Node) -> None:
        """Read one operator."""
        self.op, self.place, inputs, outputs, self.left = node
        self.refuse(self.op not in self.operators, "this operator is not supported by the checker")
        try:
            args: list[Input] = [self.values[name] if name else None for name in inputs]
            made = self.operators[self.op](self, *args)
        except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
            raise Refused(self.place, "its inputs are not there, or not what the operator takes") from error
        # An attribute that nobody has asked for might mean something.
        self.refuse(self.left, f"unknown attribute {min(self.left, default='')!r}")
        results = made if isinstance(made, list) else [made]
        self.refuse(sum(map(bool, outputs)) > len(results), "it has outputs that are not supported")
        for name, value in zip(outputs, results, strict=False):
            self.refuse(name in self.values, f"its output {name!r} has the name of another value")
            self.values[name] = value

    def take(self, name: str, default: Any = None) -> Any:
        """An attribute or its default, which it must have the type of unless that is None."""
        found = self.left.pop(name, default)
        other = default is not None and type(found) is not type(default)
        self.refuse(other, f"attribute {name} is of another type")
        return found

    def expect(self, **values: object) -> None:
        """Refuse attributes with any other values than these; they may be absent."""
        for name, value in values.items():
            other = self.left.pop(name, value) != value
            self.refuse(other, f"attribute {name} has a value that is not supported")

    def refuse(self, when: object, reason: str) -> None:
        """Refuse the operator at hand where something is so."""
        refuse(when, self.place, reason)

    def room(self, shape: Sequence[int]) -> int:
        """How many elements a shape has; refuse none, and more than anything real in all."""
        size = prod(shape)
        self.used += size
        wrong = size < 1 or self.used >= MOST
        self.refuse(wrong, f"its value is empty, or the network needs {MOST} elements")
        return size

    def add(
        self, does: Affine | Function, xs: list[Value], shape: Shape, bias: Input = None, rows: Values = ()
    ) -> Value:
        """One more step. bias: of an affine one, broadcast to the shape. rows: see ``Step``."""
        size = self.room(shape)
        if isinstance(does, Function):
            self.refuse(self.a.exact and not does.kinked, "its values are no fractions")
            silent = self.deployed and does.deployed() is None
            self.refuse(silent, "nothing is known of its float32 executions; use level 'real'")
        if bias is not None and isinstance(does, Affine):
            does = replace(does, bias=np.broadcast_to(self.numbers(bias), shape).reshape(-1))
        inputs = tuple(x.index for x in xs)
        self.steps.append(Step(does, inputs, size, rows or inputs))
        return Value(len(self.steps), shape)

    def moved(self, x: Input, move: Callable[[Array], Array]) -> Made:
        """Elements of x moved, dropped or repeated; -1 for a zero."""
        if not isinstance(x, Value):
            made = move(self.constant(x))
            self.room([max(made.size, 1)])
            return made
        size = prod(x.shape)
        places = move(np.arange(size).reshape(x.shape))
        self.room(places.shape)
        flat = places.reshape(-1)
        if np.array_equal(flat, np.arange(size)):
            return Value(x.index, places.shape)
        return self.add(Pick(flat, size), [x], places.shape)

    def value(self, x: Input) -> Value:
        """An argument that must depend on the input."""
        if not isinstance(x, Value):
            raise Refused(self.place, "an input that should be a value is a constant or absent")
        return x

    def lifted(self, x: Input) -> Value:
        """An argument as a value, even where it is constant: zeros and a bias."""
        if isinstance(x, Value):
            return x
        shape = self.constant(x).shape
        return self.add(Pick(np.full(prod(shape), -1), prod(self.entry.shape)), [self.entry], shape, x)

    def constant(self, x: Input) -> Array:
        """An argument that must be a constant."""
        if x is None or isinstance(x, Value):
            raise Refused(self.place, "an input that should be a constant is not one, or absent")
        return x

    def numbers(self, x: Input) -> Array:
        """An argument that must be constant floats, as numbers to compute with."""
        found = self.constant(x)
        self.refuse(found.dtype.kind != "f", "an input should consist of floats")
        wide = self.deployed and found.dtype != np.float32
        self.refuse(wide, "it has float64 values; level 'deployed' speaks of float32 executions")
        self.room(found.shape)
        return self.a.array(found)

    def whole(self, x: Input) -> Array:
        """An argument that must be constant integers."""
        found = self.constant(x)
        self.refuse(found.dtype != np.int64, "an input should consist of integers")
        return found

    def integers(self, x: Input) -> list[int]:
        """The same in a list."""
        return self.whole(x).reshape(-1).tolist()

    def shape(self, x: Input) -> Shape:
        """The shape of an argument."""
        return x.shape if isinstance(x, Value) else self.constant(x).shape

    def spread(self, x: Value, shape: Shape) -> Value:
        """x broadcast to a shape."""
        return x if x.shape == shape else self.value(self.moved(x, lambda i: np.broadcast_to(i, shape)))

    def dense(self, x: Value, w: Array, bias: Input = None) -> Value:
        """``w`` (outputs, inputs) times all vectors along the last axis, with a bias."""
        wrong = w.ndim != 2 or x.shape[-1] != w.shape[1]
        self.refuse(wrong, f"a value of shape {x.shape} meets constants of shape {w.shape}, transposed")
        step = Dense(weight=np.ascontiguousarray(w), executed=w.shape[1] + 4)
        return self.add(step, [x], (*x.shape[:-1], len(w)), bias)

    def scaled(self, x: Value, weight: Array, bias: Input = None, executed: int = 2) -> Value:
        """``weight x + bias``, elementwise."""
        shape = np.broadcast_shapes(x.shape, np.shape(weight), () if bias is None else self.shape(bias))
        step = Scale(weight=np.broadcast_to(weight, shape).reshape(-1), executed=executed)
        return self.add(step, [self.spread(x, shape)], shape, bias)

    def sum(self, x: Input, y: Input, sign: int, executed: int = 2) -> Value:
        """``x + sign y``, of which one may be constant."""
        if not isinstance(x, Value):
            return self.scaled(self.lifted(y), self.a.array(sign), x, executed)
        if not isinstance(y, Value):
            return self.scaled(x, self.a.array(1.0), sign * self.constant(y), executed)
        shape = np.broadcast_shapes(x.shape, y.shape)
        both = [self.spread(x, shape), self.spread(y, shape)]
        return self.add(Sum(weight=sign, executed=executed), both, shape)
