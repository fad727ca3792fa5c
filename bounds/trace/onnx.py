"""ONNX files -> ``Graph``, through the ``onnx`` package."""

from __future__ import annotations

import gzip
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import torch
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx import external_data_helper as external
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from bounds.errors import InvalidFile, InvalidGraph, Unsupported
from bounds.graph import Builder, Graph, Ref
from bounds.linear import Shape
from bounds.ops import ONNX, Call
from bounds.ops.excluded import check
from bounds.trace.batch import Whole, imported
from bounds.trace.fuse import fused

_OLDEST_OPSET = 7  # before it, broadcasting was an attribute
_DOMAINS = ("", "ai.onnx")
_RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)


def read(path: Path, input_shape: Sequence[int] | None) -> Graph:
    """See ``bounds.read_onnx``."""
    model = _load(path)
    try:
        return _Reader(model, path.name).read(input_shape)
    except InvalidGraph as error:
        raise InvalidGraph(f"{path.name}: {error}") from error


def _load(path: Path) -> ModelProto:
    """The checked model in a file."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        model = onnx.load_model_from_string(data)
        _load_external(model, path)
        onnx.checker.check_model(model)
    except OSError as error:
        raise InvalidFile(f"{path} cannot be read: {error.strerror or error}") from error
    except (EOFError, zlib.error, DecodeError) as error:
        raise InvalidFile(
            f"{path} is not an ONNX model: {_first_line(error)}; it may be truncated"
        ) from error
    except (onnx.checker.ValidationError, ValueError, TypeError) as error:
        raise InvalidFile(f"{path} is not a valid ONNX model: {_first_line(error)}") from error
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _load_external(model: ModelProto, path: Path) -> None:
    """Read weights that lie in files of their own, which must be in the model's folder."""
    for tensor in external._get_all_tensors(model):
        if external.uses_external_data(tensor):
            location = next((e.value for e in tensor.external_data if e.key == "location"), "")
            if not (path.parent / location).resolve().is_relative_to(path.parent.resolve()):
                raise InvalidFile(
                    f"{path} keeps weights outside its folder, in {location!r}; move them there"
                )
    external.load_external_data_for_model(model, str(path.parent))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@dataclass(frozen=True, eq=False)
class _Reader:
    """One walk over a model: the values found so far, by name."""

    model: ModelProto
    file: str
    values: dict[str, Ref | Tensor | Whole] = field(default_factory=dict)

    def read(self, input_shape: Sequence[int] | None) -> Graph:
        graph = self.model.graph
        self._check_opset()
        if graph.sparse_initializer:
            raise Unsupported(f"{self.file} has sparse initialisers; store them dense")
        for tensor in graph.initializer:
            self.values[tensor.name] = _tensor(tensor, f"initialiser {tensor.name!r} of {self.file}")
        entry = self._single([v for v in graph.input if v.name not in self.values], "input")
        exit_ = self._single(list(graph.output), "output")
        dtype = self._dtype(entry)
        shape, batched = self._sample_shape(entry, exit_, input_shape)
        builder = Builder(shape)
        self.values[entry.name] = builder.input
        single = batched and entry.type.tensor_type.shape.dim[:1][0].dim_value == 1
        for node in graph.node:
            self._visit(node, builder, dtype, batched, single)
        output = self.values.get(exit_.name)
        output = output.ref if isinstance(output, Whole) else output
        if not isinstance(output, Ref):
            raise Unsupported(f"the output {exit_.name!r} of {self.file} does not depend on its input")
        return check(fused(builder.build(output)))

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
        """A node on constants alone, evaluated by the reference implementation."""
        if node.op_type in _RANDOM:
            raise Unsupported(f"operator {node.op_type} at {where} is random; a graph is a fixed function")
        names = [name for name in node.input if name]
        feeds = {name: v.numpy() for name in names if isinstance(v := self.values[name], Tensor)}
        function = helper.make_function(
            "constant", "constant", names, list(node.output), [node], list(self.model.opset_import)
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results = ReferenceEvaluator(function).run(None, feeds, attributes={})
        # The evaluator raises whatever its numpy code raises; all of it means the same.
        except Exception as error:
            raise Unsupported(
                f"operator {node.op_type} at {where} on constants cannot be evaluated: {_first_line(error)}"
            ) from error
        found = zip(node.output, results, strict=True)
        return {name: _from_numpy(np.asarray(r), where) for name, r in found if name}


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
    return _from_numpy(numpy_helper.to_array(proto), where)


def _from_numpy(array: np.ndarray, where: str) -> Tensor:
    """A tensor of its own memory; numbers of less than single precision are cast up, exactly."""
    if array.dtype.kind not in "fiubV":
        raise Unsupported(f"{where} holds {array.dtype}, not real numbers")
    if array.dtype.kind == "V" or (array.dtype.kind == "f" and array.dtype.itemsize < 4):
        array = array.astype(np.float32)
    return torch.from_numpy(np.array(array))
