"""ONNX files -> ``Graph``, through the ``onnx`` package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from torch import Tensor

from bounds.errors import InvalidFile, InvalidGraph, Unsupported
from bounds.graph import Builder, Graph, Ref
from bounds.linear import Shape
from bounds.ops import ONNX, Call
from bounds.ops.excluded import check
from bounds.trace.batch import Whole, imported
from bounds.trace.constants import MOST_ELEMENTS, Folder
from bounds.trace.fuse import fused
from bounds.trace.onnxfile import first_line, load

_OLDEST_OPSET = 7  # before it, broadcasting was an attribute
_DOMAINS = ("", "ai.onnx")


def read(path: Path, input_shape: Sequence[int] | None, max_bytes: int) -> Graph:
    """See ``bounds.read_onnx``."""
    model = load(path, max_bytes)
    try:
        return _Reader(model, path.name, Folder.of(model)).read(input_shape)
    except InvalidGraph as error:
        raise InvalidGraph(f"{path.name}: {error}") from error


@dataclass(frozen=True, eq=False)
class _Reader:
    """One walk over a model: the values found so far, by name."""

    model: ModelProto
    file: str
    folder: Folder
    values: dict[str, Ref | Tensor | Whole] = field(default_factory=dict)

    def read(self, input_shape: Sequence[int] | None) -> Graph:
        proto = self.model.graph
        self._check_opset()
        if proto.sparse_initializer:
            raise Unsupported(f"{self.file} has sparse initialisers; store them dense")
        for tensor in proto.initializer:
            self.values[tensor.name] = _tensor(tensor, f"initialiser {tensor.name!r} of {self.file}")
        entry = self._single([v for v in proto.input if v.name not in self.values], "input")
        exit_ = self._single(list(proto.output), "output")
        dtype = self._dtype(entry)
        shape, batched = self._sample_shape(entry, exit_, input_shape)
        builder = Builder(shape)
        self.values[entry.name] = builder.input
        single = batched and entry.type.tensor_type.shape.dim[:1][0].dim_value == 1
        for node in proto.node:
            self._visit(node, builder, dtype, batched, single)
        output = self.values.get(exit_.name)
        output = output.ref if isinstance(output, Whole) else output
        if not isinstance(output, Ref):
            raise Unsupported(f"the output {exit_.name!r} of {self.file} does not depend on its input")
        graph = replace(check(fused(builder.build(output))), fixed=True)
        self._check_sizes(graph)
        return graph

    def _check_sizes(self, graph: Graph) -> None:
        for node in graph.nodes:
            if prod(node.shape) > MOST_ELEMENTS:
                raise Unsupported(
                    f"node {node.name!r} of {self.file} has {prod(node.shape)} elements for one sample; "
                    f"the limit is {MOST_ELEMENTS}"
                )

    @property
    def _opset(self) -> int:
        return max((o.version for o in self.model.opset_import if o.domain in _DOMAINS), default=0)

    def _check_opset(self) -> None:
        if self._opset < _OLDEST_OPSET:
            raise Unsupported(
                f"{self.file} has opset {self._opset}; convert it to {_OLDEST_OPSET} or newer "
                "with onnx.version_converter"
            )

    def _single(self, values: list[ValueInfoProto], kind: str) -> ValueInfoProto:
        if len(values) != 1:
            names = ", ".join(v.name for v in values) or "none"
            raise Unsupported(f"{self.file} has {len(values)} {kind}s ({names}); a graph has exactly one")
        return values[0]

    def _dtype(self, entry: ValueInfoProto) -> torch.dtype:
        kinds = {1: torch.float32, 11: torch.float64}  # TensorProto.FLOAT and DOUBLE
        dtype = kinds.get(entry.type.tensor_type.elem_type)
        if dtype is None:
            raise Unsupported(f"the input {entry.name!r} of {self.file} is neither float32 nor float64")
        return dtype

    def _sample_shape(
        self, entry: ValueInfoProto, exit_: ValueInfoProto, input_shape: Sequence[int] | None
    ) -> tuple[Shape, bool]:
        """The shape of one sample, and whether the file's values have a batch axis in front of it.

        A fixed first axis that the output does not share is no batch, but part of the sample.
        """
        dims = [d.dim_value for d in entry.type.tensor_type.shape.dim]  # 0 where dynamic
        where = f"the input {entry.name!r} of {self.file}"
        if not entry.type.tensor_type.HasField("shape"):
            if input_shape is None:
                raise Unsupported(f"{where} has no shape; give input_shape, the shape of one sample")
            dims = [0] * (len(input_shape) + 1)
        if not dims:
            raise Unsupported(f"{where} has no axes")
        results = [d.dim_value for d in exit_.type.tensor_type.shape.dim]
        batched = len(dims) > 1 and not (dims[0] > 1 and results and results[0] not in (0, dims[0]))
        if batched and dims[0] > 1:
            raise Unsupported(f"{where} has a fixed batch of {dims[0]}; export it with a batch of one")
        known = dims[1:] if batched else dims
        given = tuple(known if input_shape is None else input_shape)
        fits = len(given) == len(known) and all(k in (0, g) for k, g in zip(known, given, strict=True))
        if not fits:
            raise InvalidGraph(f"{where} has shape {tuple(known)}, which input_shape {given} does not fit")
        if not all(size > 0 for size in given):
            raise Unsupported(f"{where} has axes of unknown size {given}; give input_shape")
        return given, batched

    def _visit(
        self, node: NodeProto, builder: Builder, dtype: torch.dtype, batched: bool, single: bool
    ) -> None:
        name = node.name or (node.output[0] if node.output else "")
        where = f"node {name!r} of {self.file}"
        operator = node.op_type if node.domain in _DOMAINS else f"{node.domain}.{node.op_type}"
        inputs = {}
        for position, source in enumerate(node.input):
            if source and source not in self.values:
                raise Unsupported(
                    f"operator {operator} at {where} takes {source!r}, an output that is not computed"
                )
            if source:
                inputs[str(position)] = self.values[source]
        if not any(isinstance(value, Ref | Whole) for value in inputs.values()):
            self.values.update(self._constant(node, where))
            return
        args: Mapping[str, object] = {**inputs, **_attributes(node, where)}
        call = Call(
            builder,
            operator,
            where,
            args,
            name=name,
            dtype=dtype,
            outputs=len(node.output),
            opset=self._opset,
            batched=batched,
        )
        results = imported(ONNX, call, single)
        results = results if isinstance(results, tuple) else (results,)
        self.values.update((key, value) for key, value in zip(node.output, results, strict=False) if key)

    def _constant(self, node: NodeProto, where: str) -> dict[str, Tensor]:
        """A node on constants alone."""
        held = {name: self.values[name] for name in node.input if name}
        feeds = {name: value.numpy() for name, value in held.items() if isinstance(value, Tensor)}
        results = self.folder.evaluate(node, feeds, where)
        found = zip(node.output, results, strict=True)
        return {name: _from_numpy(result, where) for name, result in found if name}


def _attributes(node: NodeProto, where: str) -> dict[str, object]:
    """Attributes as Python values: numbers, strings, lists, tensors."""
    found: dict[str, object] = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode()
        if isinstance(value, list):
            value = [v.decode() if isinstance(v, bytes) else v for v in value]
        found[attribute.name] = _tensor(value, where) if isinstance(value, TensorProto) else value
    return found


def _tensor(proto: TensorProto, where: str) -> Tensor:
    try:
        array = numpy_helper.to_array(proto)
    except (ValueError, TypeError, KeyError) as error:  # more or less data than the shape has elements
        raise InvalidFile(f"{where} cannot be read: {first_line(error)}") from error
    return _from_numpy(array, where)


def _from_numpy(array: np.ndarray, where: str) -> Tensor:
    """A tensor of its own memory; numbers of less than single precision are cast up, exactly."""
    if array.dtype.kind not in "fiubV":
        raise Unsupported(f"{where} holds {array.dtype}, not real numbers")
    if array.dtype.kind == "V" or (array.dtype.kind == "f" and array.dtype.itemsize < 4):
        array = array.astype(np.float32)
    return torch.from_numpy(np.array(array))
