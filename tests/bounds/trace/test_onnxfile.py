"""Hostile ONNX files of our own making: each is refused for its own reason, in bounded time and memory."""

import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import bounds
from bounds.trace.onnxfile import weight_files

WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]


def model(
    nodes: list[NodeProto],
    tensors: list[TensorProto] | None = None,
    functions: list[onnx.FunctionProto] | None = None,
) -> ModelProto:
    """x (batch, 3) -> y, any shape."""
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "m"])
    graph = helper.make_graph(nodes, "g", [source], [result], tensors or [])
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=8, functions=functions or [])


def linear(tensor: TensorProto) -> ModelProto:
    return model([helper.make_node("MatMul", ["x", "w"], ["y"])], [tensor])


def external(**entries: object) -> TensorProto:
    """The weight as external data, where and how ``entries`` say."""
    tensor = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=WEIGHT.shape, data_location=TensorProto.EXTERNAL
    )
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def write(folder: Path, proto: ModelProto) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "net.onnx").write_bytes(proto.SerializeToString())
    return folder / "net.onnx"


def refused(path: Path, max_bytes: int = 2**32) -> str:
    started = time.perf_counter()
    with pytest.raises((bounds.InvalidFile, bounds.Unsupported)) as caught:
        bounds.read_onnx(path, max_bytes=max_bytes)
    assert time.perf_counter() - started < 60
    message = str(caught.value)
    assert "net.onnx" in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("location", ["w", "weights/w.bin", "./w"])
def test_external_weights_in_the_folder_are_read(tmp_path: Path, location: str) -> None:
    path = write(tmp_path / "m", linear(external(location=location, offset=16, length=48)))
    place = path.parent / location
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"0" * 16 + WEIGHT.tobytes() + b"rest")
    x = torch.rand(2, 3)
    assert torch.allclose(bounds.read_onnx(path)(x), x @ torch.from_numpy(WEIGHT))


def test_weight_files_are_those_that_would_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "m", linear(external(location="w", offset=16, length=48)))
    assert weight_files(path, 2**20) == ()
    (path.parent / "w").write_bytes(b"0" * 16 + WEIGHT.tobytes())
    assert weight_files(path, 2**20) == (path.parent / "w",)
    assert weight_files(path, 10) == ()
    assert weight_files(path.parent / "none.onnx", 2**20) == ()
    (path.parent / "w").unlink()
    os.mkfifo(path.parent / "w")
    assert weight_files(path, 2**20) == ()
    assert weight_files(write(tmp_path / "m", linear(external(location="../w"))), 2**20) == ()


def test_external_weights_in_attributes_are_read(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["w"], value=external(location="w"))
    path = write(tmp_path / "m", model([constant, helper.make_node("MatMul", ["x", "w"], ["y"])]))
    (path.parent / "w").write_bytes(WEIGHT.tobytes())
    x = torch.rand(2, 3)
    assert torch.allclose(bounds.read_onnx(path)(x), x @ torch.from_numpy(WEIGHT))


@pytest.mark.parametrize(
    "location", ["../secret", "sub/../../secret", "", ".", "..\\secret", "C:secret", "a\0b"]
)
def test_locations_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(WEIGHT.tobytes())
    (tmp_path / "m" / "sub").mkdir(parents=True)
    assert "outside its folder" in refused(write(tmp_path / "m", linear(external(location=location))))


def test_absolute_locations_are_refused_even_within_the_folder(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(WEIGHT.tobytes())
    path = write(tmp_path, linear(external(location=tmp_path / "w")))
    assert "outside its folder" in refused(path)


def test_external_weights_in_functions_and_attributes_are_confined_too(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(WEIGHT.tobytes())
    constant = helper.make_node("Constant", [], ["w"], value=external(location="../secret"))
    matmul = helper.make_node("MatMul", ["x", "w"], ["y"])
    assert "outside its folder" in refused(write(tmp_path / "m", model([constant, matmul])))
    body = helper.make_function("local", "F", ["x"], ["y"], [constant, matmul], OPSETS)
    call = helper.make_node("F", ["x"], ["y"], domain="local")
    assert "outside its folder" in refused(write(tmp_path / "m", model([call], functions=[body])))


def test_links_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(WEIGHT.tobytes())
    path = write(tmp_path / "m", linear(external(location="w")))
    place = path.parent / "w"
    place.symlink_to(secret)
    assert "is a link" in refused(path)
    place.unlink()
    place.hardlink_to(secret)
    assert "hard link" in refused(path)
    place.unlink()
    os.mkfifo(place)
    assert "no plain file" in refused(path)
    place.unlink()
    place.mkdir()
    assert "directory" in refused(path)
    place.rmdir()
    assert "No such file" in refused(path)
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "w").write_bytes(WEIGHT.tobytes())
    (path.parent / "sub").symlink_to(tmp_path / "real")
    assert "is a link" in refused(write(tmp_path / "m", linear(external(location="sub/w"))))


BAD_ENTRIES = [
    ({"length": 47}, "declares a length"),
    ({"length": 10**15}, "declares a length"),
    ({"offset": 1}, "beyond the end"),
    ({"offset": 10**18}, "beyond the end"),
    ({"offset": -16}, "not a natural number"),
    ({"offset": "1e3"}, "not a natural number"),
    ({"length": "9" * 10_000}, "not a natural number"),
]


@pytest.mark.parametrize(("entries", "words"), BAD_ENTRIES)
def test_sizes_of_external_weights_must_fit(tmp_path: Path, entries: dict[str, object], words: str) -> None:
    path = write(tmp_path, linear(external(location="w", **entries)))
    (tmp_path / "w").write_bytes(WEIGHT.tobytes())
    assert words in refused(path)


def test_external_weights_are_limited_in_all(tmp_path: Path) -> None:
    tensor = external(location="w")
    tensor.dims[:] = [2**20, 2**20]
    with (tmp_path / "w").open("wb") as file:
        file.truncate(2**42)  # takes no room
    assert "bytes of weights in other files, more than the limit of 4294967296" in refused(
        write(tmp_path, linear(tensor))
    )
    tensor.dims[:] = [-3, -4]
    assert "negative size" in refused(write(tmp_path, linear(tensor)))
    tensor.dims[:] = WEIGHT.shape
    assert "limit of 47" not in refused(write(tmp_path, linear(tensor)), max_bytes=40)  # the file's own size
    tensor.data_type = TensorProto.STRING
    assert "does not consist of numbers" in refused(write(tmp_path, linear(tensor)))


@pytest.mark.parametrize("dims", [(10**6, 10**6), (3, 5), (3, 3), (-3, -4)])
@pytest.mark.parametrize("raw", [True, False])
def test_initialisers_must_hold_what_they_declare(tmp_path: Path, dims: tuple[int, ...], raw: bool) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims)
    if raw:
        tensor.raw_data = WEIGHT.tobytes()
    else:
        tensor.float_data.extend(WEIGHT.flatten().tolist())
    refused(write(tmp_path, linear(tensor)))


def integers(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def doubling() -> ModelProto:
    """A constant joined to itself 40 times: a terabyte in a file of two kilobytes."""
    nodes = [helper.make_node("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=0) for i in range(40)]
    return model([*nodes, helper.make_node("Add", ["x", "c40"], ["y"])], [integers("c0", 1)])


def constant(operator: str, *tensors: TensorProto, **attributes: object) -> ModelProto:
    node = helper.make_node(operator, [t.name for t in tensors], ["c"], **attributes)
    return model([node, helper.make_node("Add", ["x", "c"], ["y"])], list(tensors))


def scalar(name: str, value: float) -> TensorProto:
    return numpy_helper.from_array(np.array(value, dtype=np.float32), name)


BOMBS: dict[str, Callable[[], ModelProto]] = {
    "ConstantOfShape": lambda: constant("ConstantOfShape", integers("s", 10**5, 10**6)),
    "Expand": lambda: constant("Expand", scalar("v", 1), integers("s", 10**5, 10**6)),
    "Tile": lambda: constant("Tile", integers("v", 1, 2), integers("r", 10**11)),
    "Range": lambda: constant("Range", scalar("a", 0), scalar("b", 1e12), scalar("d", 1)),
    "Pad": lambda: constant("Pad", integers("v", 1), integers("p", 10**11, 0)),
    "OneHot": lambda: constant(
        "OneHot", integers("i", 1), numpy_helper.from_array(np.array(10**11), "d"), integers("v", 0, 1)
    ),
    "Resize": lambda: constant(
        "Resize",
        numpy_helper.from_array(np.ones((1, 1, 2, 2), np.float32), "v"),
        numpy_helper.from_array(np.zeros(0, np.float32), "roi"),
        numpy_helper.from_array(np.array([1, 1, 1e6, 1e6], np.float32), "scales"),
    ),
    "Concat": doubling,
}


@pytest.mark.parametrize("name", BOMBS)
def test_constants_that_a_small_file_makes_large_are_refused(tmp_path: Path, name: str) -> None:
    message = refused(write(tmp_path, BOMBS[name]()))
    assert name in message
    assert "too many elements" in message or "unknown size" in message


def test_values_that_are_large_for_every_sample_are_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["x", "one"], ["u"]),
        helper.make_node("Expand", ["u", "s"], ["y"]),
    ]
    path = write(tmp_path, model(nodes, [integers("one", 1), integers("s", 1, 10**10, 3)]))
    assert "the limit is" in refused(path)


def test_loops_on_constants_are_not_run(tmp_path: Path) -> None:
    """A loop of 2^62 turns over nothing."""
    keep = helper.make_tensor_value_info("keep", TensorProto.BOOL, [])
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    v, w = (helper.make_tensor_value_info(n, TensorProto.INT64, [1]) for n in ("v", "w"))
    out = helper.make_tensor_value_info("out", TensorProto.BOOL, [])
    nodes = [helper.make_node("Identity", ["keep"], ["out"]), helper.make_node("Identity", ["v"], ["w"])]
    body = helper.make_graph(nodes, "body", [turn, keep, v], [out, w])
    true = numpy_helper.from_array(np.array(True), "true")
    path = write(
        tmp_path,
        constant("Loop", numpy_helper.from_array(np.array(2**62), "n"), true, integers("c0", 1), body=body),
    )
    assert "control flow" in refused(path)


def chain(length: int, width: int, last: str) -> list[onnx.FunctionProto]:
    """f0 calls f1 ``width`` times in a row, f1 calls f2, ..."""
    functions = []
    for i in range(length):
        target, domain = (f"f{i + 1}", "local") if i + 1 < length else (last, "local" if last == "f0" else "")
        names = ["a", *[f"t{j}" for j in range(1, width)], "b"]
        nodes = [helper.make_node(target, [names[j]], [names[j + 1]], domain=domain) for j in range(width)]
        functions.append(helper.make_function("local", f"f{i}", ["a"], ["b"], nodes, OPSETS))
    return functions


def test_functions_that_call_themselves_or_too_often_are_refused(tmp_path: Path) -> None:
    call = helper.make_node("f0", ["x"], ["y"], domain="local")
    assert "calls itself" in refused(write(tmp_path, model([call], functions=chain(1, 1, "f0"))))
    assert "calls itself" in refused(write(tmp_path, model([call], functions=chain(5, 1, "f0"))))
    assert "operators, functions written out" in refused(
        write(tmp_path, model([call], functions=chain(40, 2, "Relu")))
    )
    graph = bounds.read_onnx(write(tmp_path, model([call], functions=chain(3, 2, "Relu"))))
    x = torch.randn(2, 3)
    assert torch.equal(graph(x), x.relu())


def test_operators_of_unknown_domains_are_refused(tmp_path: Path) -> None:
    node = helper.make_node("Anything", ["x"], ["y"], domain="local")
    assert "Anything" in refused(write(tmp_path, model([node])))


def test_a_gzip_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(gzip.compress(bytes(2**28 + 1), 1))
    assert path.stat().st_size < 2**21
    assert "unpacks to more than the limit" in refused(path)


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "net.onnx").open("wb") as file:
        file.truncate(2**40)
    assert "more than the limit of 2147483647" in refused(tmp_path / "net.onnx")
    assert "more than the limit of 1000" in refused(tmp_path / "net.onnx", max_bytes=1000)


def test_nested_graphs_are_as_deep_as_the_parser_allows(tmp_path: Path) -> None:
    """Written by hand: no writer nests so deep. Graph (7) > node (1) > attribute (5) > graph (6) > ..."""

    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    data = b""
    for _ in range(2000):
        data = field(1, field(4, b"If") + field(5, field(6, data)))
    (tmp_path / "net.onnx").write_bytes(field(7, data))
    assert "not an ONNX model" in refused(tmp_path / "net.onnx")
