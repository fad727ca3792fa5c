"""``read_onnx`` against onnxruntime, and what it says of files it cannot read."""

import gzip
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import bounds
from bounds.ops.registry import ONNX

from . import cases_onnx, cases_onnx_composite
from .cases_onnx import Case
from .onnx_nets import RandomNet, run_one_by_one, save, session

PLAIN, COMPOSITE = cases_onnx.CASES, cases_onnx_composite.CASES
CASES = {op: [*PLAIN.get(op, []), *COMPOSITE.get(op, [])] for op in {**PLAIN, **COMPOSITE}}
SETTINGS = [(op, case) for op, rows in CASES.items() for case in rows]


def write(case: Case, op: str, path: Path) -> Path:
    constants: dict[str, np.ndarray] = {}
    names: list[str] = []
    for i, value in enumerate(case.inputs):
        names.append(value if isinstance(value, str) else "" if value is None else f"c{i}")
        if isinstance(value, np.ndarray):
            constants[f"c{i}"] = value
    outputs = [*(f"y{i}" for i in range(case.outputs - 1)), "y"]
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Exp", ["x"], ["p"]),
        helper.make_node("Tanh", ["x"], ["tanh"]),
        helper.make_node("Less", ["tanh", "x"], ["b"]),
        helper.make_node("Less", ["x", "r"], ["d"]),
        helper.make_node(op, names, outputs, **case.attributes),
        *case.after,
    ]
    return save(
        path, nodes, case.shape, constants, "z" if case.after else "y", case.opset, result=case.result
    )


def agree(path: Path, graph: bounds.Graph, samples: int = 3, scale: float = 1.0) -> None:
    x = np.random.default_rng(5).normal(size=(samples, *graph.input_shape)).astype(np.float32) * scale
    expected = torch.from_numpy(run_one_by_one(path, x))
    with torch.no_grad():
        got = graph(torch.from_numpy(x))
    assert got.shape == expected.shape
    error = (got - expected).abs().max() / expected.abs().max().clamp_min(1e-6)
    assert error < 1e-5


def test_every_importer_has_a_case() -> None:
    assert set(CASES) == set(ONNX.importers)
    assert all(CASES.values())


@pytest.mark.parametrize(("op", "case"), SETTINGS, ids=[op for op, _ in SETTINGS])
def test_each_importer(op: str, case: Case, tmp_path: Path) -> None:
    path = write(case, op, tmp_path / "net.onnx")
    agree(path, bounds.read_onnx(path))


@pytest.mark.parametrize("seed", range(60))
def test_random_networks(seed: int, tmp_path: Path) -> None:
    net = RandomNet(seed)
    net.grow(8)
    path = net.save(tmp_path / "net.onnx")
    onnx.checker.check_model(path)
    agree(path, bounds.read_onnx(path))


@pytest.mark.parametrize("seed", [*range(100, 112), 116])
def test_random_networks_are_bounded(seed: int, tmp_path: Path) -> None:
    net = RandomNet(seed)
    net.grow(8)
    graph = bounds.read_onnx(net.save(tmp_path / "net.onnx")).to(torch.float64)
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(2, *graph.input_shape, dtype=torch.float64, generator=g)
    corners = [x + 0.05 * torch.randn(x.shape, generator=g, dtype=x.dtype).sign() for _ in range(8)]
    ys = torch.stack([graph(corner) for corner in corners])
    ibp, crown = (bounds.bound(graph, bounds.Box(x - 0.05, x + 0.05), method=m) for m in ("ibp", "crown"))
    assert (crown.lower <= ys).all() and (ys <= crown.upper).all()
    assert (crown.lower >= ibp.lower - 1e-9).all() and (crown.upper <= ibp.upper + 1e-9).all()


def small(path: Path, **changes: object) -> Path:
    """relu(x W + b), with keyword changes to how it is saved."""
    rng = np.random.default_rng(0)
    constants = {"w": rng.normal(size=(4, 3)).astype(np.float32), "b": np.ones(3, dtype=np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        helper.make_node("Add", ["h", "b"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"], name="last"),
    ]
    settings = {"nodes": nodes, "dims": ["N", 4], "constants": constants, "output": "y", **changes}
    return save(path, **settings)


def test_compressed_files(tmp_path: Path) -> None:
    plain = small(tmp_path / "net.onnx")
    packed = tmp_path / "net.onnx.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert bounds.read_onnx(str(packed)).digest() == bounds.read_onnx(plain).digest()


def test_double_models_stay_double(tmp_path: Path) -> None:
    constants = {"w": np.random.default_rng(0).normal(size=(4, 3)), "b": np.full(3, 0.1)}
    graph = bounds.read_onnx(small(tmp_path / "n.onnx", constants=constants, kind=TensorProto.DOUBLE))
    assert [p.dtype for node in graph.nodes for p in node.params] == [torch.float64, torch.float64]
    assert torch.equal(graph.nodes[2].params[0], torch.full((3,), 0.1, dtype=torch.float64))


def test_brain_floats_are_cast_up_exactly(tmp_path: Path) -> None:
    path = small(tmp_path / "n.onnx")
    model = onnx.load(path)
    assert model.graph.initializer.pop(0).name == "w"
    model.graph.initializer.append(helper.make_tensor("half", TensorProto.BFLOAT16, [4, 3], [0.1] * 12))
    model.graph.node.insert(0, helper.make_node("Cast", ["half"], ["w"], to=TensorProto.FLOAT))
    onnx.save(model, path)
    weight = bounds.read_onnx(path).nodes[1].params[0]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, torch.tensor(0.1).bfloat16().float().expand(3, 4))


def test_strings_are_refused(tmp_path: Path) -> None:
    path = small(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.initializer.append(helper.make_tensor("names", TensorProto.STRING, [1], [b"cat"]))
    onnx.save(model, path)
    with pytest.raises(bounds.Unsupported, match=r"initialiser 'names' of net\.onnx holds"):
        bounds.read_onnx(path)


def test_half_weights_are_cast_up_exactly(tmp_path: Path) -> None:
    half = np.array([0.1, -3.0, 1e-7], dtype=np.float16)
    nodes = [
        helper.make_node("Cast", ["b"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    path = save(tmp_path / "n.onnx", nodes, [1, 3], {"b": half}, "y")
    assert bounds.read_onnx(path).nodes[1].params[0].tolist() == half.astype(float).tolist()


def test_initialisers_listed_as_inputs_are_constants(tmp_path: Path) -> None:
    path = small(tmp_path / "net.onnx")
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    onnx.save(model, path)
    agree(path, bounds.read_onnx(path))


def test_weights_in_a_file_beside_the_model(tmp_path: Path) -> None:
    plain = small(tmp_path / "net.onnx")
    model = onnx.load(plain)
    moved = tmp_path / "moved.onnx"
    onnx.save(model, moved, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert bounds.read_onnx(moved).digest() == bounds.read_onnx(plain).digest()
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(bounds.InvalidFile, match=r"moved\.onnx"):
        bounds.read_onnx(moved)


def test_weights_outside_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    moved = tmp_path / "inner" / "net.onnx"
    onnx.save(
        onnx.load(small(tmp_path / "n.onnx")),
        moved,
        save_as_external_data=True,
        location="w",
        size_threshold=0,
    )
    (tmp_path / "inner" / "w").rename(tmp_path / "w")
    model = onnx.load(moved, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "../w"
    onnx.save(model, moved)
    with pytest.raises(bounds.InvalidFile, match="outside its folder"):
        bounds.read_onnx(moved)


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    body = [helper.make_node("Relu", ["a"], ["t"]), helper.make_node("Neg", ["t"], ["b"])]
    function = helper.make_function("local", "NegRelu", ["a"], ["b"], body, opsets[:1])
    graph = helper.make_graph(
        [helper.make_node("NegRelu", ["x"], ["y"], domain="local")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
    )
    path = tmp_path / "f.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=8), path)
    agree(path, bounds.read_onnx(path))


def test_input_shapes(tmp_path: Path) -> None:
    path = small(tmp_path / "net.onnx", dims=["N", "features"])
    with pytest.raises(
        bounds.Unsupported, match=r"input 'x' of net.onnx has axes of unknown size.*input_shape"
    ):
        bounds.read_onnx(path)
    agree(path, bounds.read_onnx(path, input_shape=[4]))
    with pytest.raises(bounds.InvalidGraph, match=r"net\.onnx: node 'first'"):
        bounds.read_onnx(path, input_shape=(5,))
    with pytest.raises(bounds.InvalidGraph, match=r"has shape \(4,\), which input_shape \(5,\) does not fit"):
        bounds.read_onnx(small(tmp_path / "net.onnx"), input_shape=(5,))
    with pytest.raises(bounds.Unsupported, match="fixed batch of 7"):
        bounds.read_onnx(small(tmp_path / "net.onnx", dims=[7, 4]))


@pytest.mark.parametrize("cut", [0, 1, 10, 60, 150, -1])
def test_truncated_files(tmp_path: Path, cut: int) -> None:
    path = small(tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(bounds.BoundsError, match=r"net\.onnx") as caught:
        bounds.read_onnx(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x1f\x8b\x08garbage", bytes(range(256)) * 4])
def test_garbage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(bounds.InvalidFile, match=r"net\.onnx") as caught:
        bounds.read_onnx(path)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(bounds.InvalidFile, match=r"none\.onnx cannot be read: No such file"):
        bounds.read_onnx(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([("Acos", ["x"], {})], "operator Acos at node 'n0' of net.onnx: .*without an importer"),
        ([("Einsum", ["x", "x"], {"equation": "bi,ci->bc"})], "Einsum at node 'n0' of .*batch axis"),
        ([("Squeeze", ["x", "zero"], {})], "Squeeze at node 'n0' of net.onnx: .*batch"),
        ([("Transpose", ["x"], {"perm": [1, 0]})], "batch axis"),
        ([("ReduceSum", ["x"], {})], "batch axis"),
        ([("Flatten", ["x"], {"axis": 2})], "batch axis"),
        ([("Cast", ["x"], {"to": 7}), ("Cast", ["n0"], {"to": 1})], "Cast at node 'n0'.*another type"),
        ([("RandomNormalLike", ["x"], {})], "RandomNormalLike"),
        ([("RandomNormal", [], {"shape": [1, 4]}), ("Add", ["x", "n0"], {})], "RandomNormal .* is random"),
        ([("Gemm", ["w", "x"], {"transB": 1})], "a constant on the left moves the batch axis"),
        ([("Gather", ["x", "i"], {"axis": 0})], "batch axis|positions"),
        ([("Pad", ["x", "p"], {"mode": "wrong"})], "padding mode 'wrong'"),
        ([("Neg", ["w"], {})], "does not depend on its input"),
        ([("Add", ["x", "big"], {})], "batch axis larger than one"),
        (
            [
                ("Unsqueeze", ["x", "j"], {}),
                ("Conv", ["n0", "k"], {"auto_pad": "SAME_UPPER", "dilations": [2]}),
            ],
            "dilation",
        ),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, nodes: list[tuple[str, list[str], dict[str, object]]], words: str
) -> None:
    protos = [
        helper.make_node(op, ins, [f"n{i}"], name=f"n{i}", **kw) for i, (op, ins, kw) in enumerate(nodes)
    ]
    constants = {
        "w": np.ones((4, 4), dtype=np.float32),
        "i": np.array([1, 1]),
        "j": np.array([1]),
        "p": np.array([0, 1, 0, 1]),
        "zero": np.array([0]),
        "k": np.ones((1, 1, 2), dtype=np.float32),
        "big": np.ones((3, 4), dtype=np.float32),
    }
    path = save(tmp_path / "net.onnx", protos, ["N", 4], constants, f"n{len(nodes) - 1}")
    with pytest.raises(bounds.Unsupported, match=words) as caught:
        bounds.read_onnx(path)
    assert "net.onnx" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "nodes",
    [
        [("Transpose", ["x"], {"perm": [1, 0]}), ("MatMul", ["w", "n0"], {}), ("Transpose", ["n1"], {})],
        [("Squeeze", ["x"], {}), ("Relu", ["n0"], {}), ("Add", ["n1", "x"], {})],
        [("Gather", ["x", "zero"], {"axis": 0}), ("Unsqueeze", ["n0", "one"], {}), ("Mul", ["n1", "w"], {})],
        [("Gather", ["x", "i"], {"axis": 0}), ("ReduceSum", ["n0"], {"keepdims": 0})],
        [("Split", ["x"], {"axis": 1}), ("Concat", ["n0", "x"], {"axis": 1}), ("Squeeze", ["n1"], {})],
    ],
)
def test_a_batch_of_one_may_move_its_axis(
    tmp_path: Path, nodes: list[tuple[str, list[str], dict[str, object]]]
) -> None:
    protos = [helper.make_node(op, ins, [f"n{i}"], **kw) for i, (op, ins, kw) in enumerate(nodes)]
    constants = {
        "w": np.arange(16, dtype=np.float32).reshape(4, 4),
        "i": np.array([0, 0]),
        "zero": np.array(0),
        "one": np.array([1]),
    }
    last = f"n{len(nodes) - 1}"
    path = save(tmp_path / "net.onnx", protos, [1, 4], constants, last)
    graph = bounds.read_onnx(path)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    expected = [session(path).run(None, {"x": row[None].numpy()})[0] for row in x]
    got = graph(x).numpy()
    np.testing.assert_allclose(got, np.stack(expected).reshape(got.shape), rtol=1e-5, atol=1e-5)
    free = save(tmp_path / "free.onnx", protos, ["N", 4], constants, last)
    with pytest.raises(bounds.BoundsError, match=r"free\.onnx"):
        bounds.read_onnx(free)


def test_a_fixed_first_axis_that_the_output_does_not_share(tmp_path: Path) -> None:
    constants = {"w": np.ones((4, 2), np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("ReduceSum", ["r"], ["y"], keepdims=1),
    ]
    path = save(tmp_path / "net.onnx", nodes, [3, 4], constants, "y")
    graph = bounds.read_onnx(path)
    assert (graph.input_shape, graph.output_shape) == ((3, 4), (1, 1))
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    expected = np.stack([session(path).run(None, {"x": one.numpy()})[0] for one in x])
    np.testing.assert_allclose(graph(x).numpy(), expected, rtol=1e-5)


def test_graphs_of_another_form(tmp_path: Path) -> None:
    path = small(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["N", 3]))
    onnx.save(model, path)
    with pytest.raises(bounds.Unsupported, match=r"2 outputs \(y, h\)"):
        bounds.read_onnx(path)
    model.graph.output.pop()
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))
    onnx.save(model, path)
    with pytest.raises(bounds.Unsupported, match=r"2 inputs \(x, z\)"):
        bounds.read_onnx(path)
    with pytest.raises(bounds.Unsupported, match="opset 6"):
        bounds.read_onnx(small(path, opset=6))
    with pytest.raises(bounds.Unsupported, match="neither float32 nor float64"):
        bounds.read_onnx(
            small(
                path,
                constants={"w": np.ones((4, 3), np.float16), "b": np.ones(3, np.float16)},
                kind=TensorProto.FLOAT16,
            )
        )
    with pytest.raises(
        bounds.InvalidGraph, match=r"net.onnx: node 'first' \(Linear\) has weights that are NaN"
    ):
        bounds.read_onnx(
            small(path, constants={"w": np.full((4, 3), np.nan, np.float32), "b": np.ones(3, np.float32)})
        )


def test_reading_is_quick(tmp_path: Path) -> None:
    path = small(tmp_path / "net.onnx")
    bounds.read_onnx(path)
    start = time.perf_counter()
    bounds.read_onnx(path)
    assert time.perf_counter() - start < 0.5
