"""ONNX files on disk -> one checked ``ModelProto`` in memory, whose weights all lie in it.

Nothing in a file is believed. Weights in files of their own must be plain files in the model's folder: the
name of any other file may have been put there to have it read.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path, PurePosixPath

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from bounds.errors import InvalidFile

_MOST_PROTOBUF = 2**31 - 1  # bytes: the format's own limit
_MOST_NODES = 1_000_000  # of all functions, written out at each place that calls them
_UNPACKED = 2**28  # bytes of a gzipped file, or
_GROWTH = 100  # its size times this


def load(path: Path, max_bytes: int) -> ModelProto:
    """The model of a file, valid, without local functions and external data.

    max_bytes: of the file, and of all tensors together. Raises ``InvalidFile`` naming file and reason.
    """
    try:
        model = onnx.load_model_from_string(_read(path, max_bytes))
        _check_calls(model, path)
        _inline_weights(model, path, max_bytes)
        onnx.checker.check_model(model)
        return onnx.inliner.inline_local_functions(model) if model.functions else model
    except OSError as error:
        raise InvalidFile(f"{path} cannot be read: {error.strerror or error}") from error
    except (EOFError, zlib.error, DecodeError) as error:
        raise InvalidFile(f"{path} is not an ONNX model: {first_line(error)}; it may be truncated") from error
    except (onnx.checker.ValidationError, ValueError, TypeError, RuntimeError) as error:
        raise InvalidFile(f"{path} is not a valid ONNX model: {first_line(error)}") from error


def weight_files(path: Path, max_bytes: int) -> tuple[Path, ...]:
    """The files beside a model that hold weights of it; none where ``load`` would refuse it or them."""
    try:
        tensors = _tensors(onnx.load_model_from_string(_read(path, max_bytes)))
        external = (each for each in tensors if each.data_location == TensorProto.EXTERNAL)
        places = {_confined(path, _location(each), path.name): None for each in external}
    except (OSError, EOFError, zlib.error, DecodeError, InvalidFile):
        return ()
    return tuple(place for place in places if place.is_file())


def first_line(error: Exception) -> str:
    """An exception's message, its first line and no more than 300 characters."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _read(path: Path, max_bytes: int) -> bytes:
    """The file's bytes, unpacked if they are gzipped, as long as both are within the limit."""
    limit = min(max_bytes, _MOST_PROTOBUF)
    size = path.stat().st_size
    if size > limit:
        raise InvalidFile(f"{path} has {size} bytes, more than the limit of {limit}")
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            file.seek(0)
            return file.read()
        file.seek(0)
        limit = min(limit, max(_UNPACKED, _GROWTH * size))
        with gzip.GzipFile(fileobj=file) as unpacked:
            data = unpacked.read(limit + 1)
    if len(data) > limit:
        raise InvalidFile(f"{path} unpacks to more than the limit of {limit} bytes; give the file unpacked")
    return data


def _inline_weights(model: ModelProto, path: Path, max_bytes: int) -> None:
    """Put all external data into the model, after a look at how much that is."""
    tensors = list(_tensors(model))
    if any(size < 0 for tensor in tensors for size in tensor.dims):
        raise InvalidFile(f"{path} has a tensor of negative size")
    external = [tensor for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL]
    total = sum(_byte_count(tensor, path) for tensor in external)
    if total > max_bytes:
        raise InvalidFile(
            f"{path} has {total} bytes of weights in other files, more than the limit of {max_bytes}"
        )
    for tensor in external:
        tensor.raw_data = _external_bytes(tensor, path)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _byte_count(tensor: TensorProto, path: Path) -> int:
    try:
        item = int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidFile(f"{path}: weight {tensor.name!r} has no data type of numbers") from error
    if tensor.data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        raise InvalidFile(f"{path}: weight {tensor.name!r} in another file does not consist of numbers")
    return item * prod(int(size) for size in tensor.dims)


def _external_bytes(tensor: TensorProto, path: Path) -> bytes:
    """What an external tensor names: its exact size, from a plain file in the model's folder."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = _location(tensor)
    where = f"{path}: weight {tensor.name!r}"
    place = _confined(path, location, where)
    size = _byte_count(tensor, path)
    offset = _natural(entries.get("offset", "0"), where)
    if _natural(entries.get("length", str(size)), where) != size:
        raise InvalidFile(f"{where} declares a length that its shape and type do not give, {size} bytes")
    # A link put there since the check is not followed, and a pipe does not block.
    with open(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise InvalidFile(
                f"{where} lies in {location!r}, which is no plain file or has a second name (a hard link); "
                "copy its content there"
            )
        if offset + size > found.st_size:
            raise InvalidFile(f"{where} reaches beyond the end of {location!r}, which may be truncated")
        file.seek(offset)
        return file.read(size)


def _location(tensor: TensorProto) -> str:
    """The file that an external tensor names last."""
    return {entry.key: str(entry.value) for entry in tensor.external_data}.get("location", "")


def _confined(path: Path, location: str, where: str) -> Path:
    """The place of a weight file, which is in the model's folder, on a way without links."""
    parts = PurePosixPath(location).parts
    outside = not parts or location.startswith("/") or ".." in parts
    if outside or "\\" in location or ":" in location or not location.isprintable():
        raise InvalidFile(f"{where} lies outside its folder, in {location!r}; move it there")
    place = path.parent
    for part in parts:
        place = place / part
        if place.is_symlink():
            raise InvalidFile(f"{where} lies in {location!r}, which is a link; copy the file there")
    return place


def _natural(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidFile(f"{where} has offset or length {text[:40]!r}, not a natural number")
    return int(text)


def _check_calls(model: ModelProto, path: Path) -> None:
    """Refuse functions that call themselves, or each other so often that nothing could hold the result."""
    functions = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    for start in functions:
        waiting = [start]
        while waiting:  # a walk in depth without recursion: chains of calls may be long
            key = waiting[-1]
            missing = [k for k in _calls(functions[key].node, functions) if k not in sizes]
            if any(k in waiting for k in missing):
                raise InvalidFile(f"{path}: function {key[1]!r} calls itself")
            if missing:
                waiting.append(missing[0])
                continue
            sizes[waiting.pop()] = _written_out(functions[key].node, sizes)
    total = _written_out(model.graph.node, sizes)
    if max([total, *sizes.values()]) > _MOST_NODES:
        raise InvalidFile(f"{path} has more than {_MOST_NODES} operators, functions written out")


def _calls(
    nodes: Iterable[NodeProto], functions: Mapping[tuple[str, str], FunctionProto]
) -> set[tuple[str, str]]:
    return {(n.domain, n.op_type) for n in _nested(nodes) if (n.domain, n.op_type) in functions}


def _written_out(nodes: Iterable[NodeProto], sizes: Mapping[tuple[str, str], int]) -> int:
    return sum(sizes.get((n.domain, n.op_type), 1) for n in _nested(nodes))


def _nested(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Nodes with those of their subgraphs; protobuf's parser limits how deep they go."""
    for node in nodes:
        yield node
        for graph in _subgraphs(node):
            yield from _nested(graph.node)


def _subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model: initialisers, attributes, in subgraphs and functions too."""
    yield from _tensors_in(model.graph)
    for function in model.functions:
        yield from _tensors_at(function.node)
    for training in model.training_info:
        yield from _tensors_in(training.initialization)
        yield from _tensors_in(training.algorithm)


def _tensors_in(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_at(graph.node)


def _tensors_at(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
            for sparse in attribute.sparse_tensors:
                yield from (sparse.values, sparse.indices)
        for graph in _subgraphs(node):
            yield from _tensors_in(graph)
