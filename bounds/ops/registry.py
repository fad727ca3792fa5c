"""Which importer handles which operator of a front end; filled by the operator files at import.

An importer is a function from a ``Call`` to a graph value or a constant, or several. Duplicates raise at
import; an operator without an importer is named in the error, together with its node and file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bounds.errors import Unsupported
from bounds.graph import Builder, Ref
from bounds.kinds import Operator, Tensors
from bounds.linear import Shape

Value = Ref | Tensor
Values = Value | tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class Call:
    """One operator call as a front end found it.

    args: by name (torch: the schema's argument names; ONNX: "0", "1", ... for inputs and attribute names).
    Graph values are ``Ref``, constants are tensors, everything else is a plain Python value.
    operator and where: for messages, e.g. "Conv" and "node '/conv1/Conv' of net.onnx".
    out: full output shape with a batch of one, where the front end knows it.
    dtype: the model's, which Python numbers in it are rounded to, as its execution does.
    outputs: how many results the node has, where the front end knows it.
    opset: the version of an ONNX file's operators.
    batched: whether axis 0 of the front end's values is the batch; if not, they are one sample each.
    """

    builder: Builder
    operator: str
    where: str
    args: Mapping[str, object]
    out: Shape | None = None
    name: str = ""
    dtype: torch.dtype = torch.float32
    outputs: int = 1
    opset: int = 0
    batched: bool = True

    def ref(self, key: str) -> Ref:
        """The argument as a graph value; a constant in its place is refused."""
        value = self.args.get(key)
        if not isinstance(value, Ref):
            raise self.unsupported(f"input {key!r} is a constant or missing where a graph value is expected")
        return value

    def constant(self, key: str) -> Tensor:
        """The argument as a constant tensor; a graph value in its place is refused."""
        value = self.args.get(key)
        if not isinstance(value, Tensor):
            raise self.unsupported(f"input {key!r} must be a constant")
        return value

    def optional(self, key: str) -> Tensor | None:
        """The argument as a constant tensor, or None if it was left out."""
        return None if self.args.get(key) is None else self.constant(key)

    def get(self, key: str, default: object = None) -> object:
        """Any argument, or ``default`` if it was left out."""
        value = self.args.get(key)
        return default if value is None else value

    def integer(self, key: str, default: int | None = None) -> int:
        """An integer argument."""
        value = self.get(key, default)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = int(value)
        if not isinstance(value, int):
            raise self.unsupported(f"{key} is {value!r}, not an integer")
        return value

    def integers(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A list of integers, or a constant tensor of them."""
        value = self.get(key, default)
        if isinstance(value, Tensor):
            value = value.flatten().tolist()
        if not isinstance(value, list | tuple) or not all(isinstance(v, int) for v in value):
            raise self.unsupported(f"{key} is {value!r}, not a list of integers")
        return tuple(value)

    def number(self, key: str, default: float | None = None) -> float:
        """A float argument; exact for the values that files hold."""
        value = self.get(key, default)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = float(value)
        if not isinstance(value, int | float):
            raise self.unsupported(f"{key} is {value!r}, not a number")
        return float(value)

    def full_shape(self, x: Ref) -> Shape:
        """The shape that the front end gives a graph value: with a batch of one, if it has a batch."""
        return (1, *x.shape) if self.batched else x.shape

    def sample_shape(self, shape: Sequence[int]) -> Shape:
        """The shape of one sample out of a full one, whose batch axis must still be in front."""
        if not self.batched:
            return tuple(shape)
        if not shape or shape[0] != 1:
            raise self.unsupported(
                f"the shape {tuple(shape)} for a batch of one moves or removes the batch axis",
                "keep it as axis 0",
            )
        return tuple(shape[1:])

    def axis(self, axis: int, x: Ref) -> int:
        """An axis of the front end's value as an axis of one sample; the batch axis is refused."""
        rank = len(self.full_shape(x))
        if not -rank <= axis < rank:
            raise self.unsupported(f"axis {axis} of a value with {rank} axes")
        axis = axis % rank - int(self.batched)
        if axis < 0:
            raise self.unsupported("it works along the batch axis")
        return axis

    def apply(self, op: Operator, *inputs: Ref, params: Tensors = ()) -> Ref:
        """Add the operator to the graph."""
        return self.builder.apply(op, inputs, params, self.name)

    def unsupported(self, why: str, remedy: str = "rewrite that part of the model") -> Unsupported:
        """The error for a call that cannot be imported."""
        return Unsupported(f"operator {self.operator} at {self.where}: {why}; {remedy}")


Importer = Callable[[Call], Values]


@dataclass(frozen=True)
class Registry:
    """The importers of one front end."""

    front_end: str
    importers: dict[str, Importer] = field(default_factory=dict)

    def register(self, *names: str) -> Callable[[Importer], Importer]:
        """A decorator that makes a function the importer of these operators."""

        def add(importer: Importer) -> Importer:
            for name in names:
                if name in self.importers:
                    raise ValueError(f"{self.front_end} operator {name} is registered twice")
                self.importers[name] = importer
            return importer

        return add

    def run(self, call: Call) -> Values:
        """Import one call, or raise ``Unsupported`` naming operator, node and file."""
        importer = self.importers.get(call.operator)
        if importer is None:
            raise call.unsupported(
                f"{self.front_end} operator without an importer",
                "use a supported operator, or add it to bounds/ops",
            )
        return importer(call)


TORCH = Registry("torch")
ONNX = Registry("ONNX")
from_torch = TORCH.register
from_onnx = ONNX.register


def as_parameter(call: Call, x: Tensor, shape: Shape) -> Tensor:
    """A constant that meets a graph value of ``shape``: it may broadcast, but carry no batch of its own."""
    if call.batched and x.dim() == len(shape) + 1:
        if x.shape[0] != 1:
            raise call.unsupported(f"a constant of shape {tuple(x.shape)} holds a batch axis larger than one")
        x = x[0]
    try:
        fits = np.broadcast_shapes(tuple(x.shape), shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise call.unsupported(f"a constant of shape {tuple(x.shape)} does not broadcast to {shape}")
    return x


def unary(call: Call) -> Ref:
    """The one graph value that a function of single elements takes; ONNX numbers it, torch names it."""
    return call.ref(next((name for name in ("0", "self") if name in call.args), "input"))


def as_model(call: Call, value: float) -> float:
    """A Python number as the model's execution rounds it."""
    return float(torch.tensor(value, dtype=call.dtype))


def register_function(op: Operator, torch_name: str | None, onnx_name: str | None) -> None:
    """Register a function of single elements without attributes by its names in the front ends."""

    def importer(call: Call) -> Value:
        return call.apply(op, unary(call))

    if torch_name is not None:
        from_torch(f"aten::{torch_name}")(importer)
    if onnx_name is not None:
        from_onnx(onnx_name)(importer)
