"""The checker without its extension: the same bounds of what it knows, and a refusal of the rest by name."""

from __future__ import annotations

import ast
import io
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from bounds import proof
from bounds.proof import Clause, Part, Proof, Refused, Statement, digest
from bounds.proof import onnx as reading
from bounds.proof.basics import Array
from bounds.proof.check import Checker, check
from bounds.proof.more import MORE
from bounds.proof.moves import MOVES
from bounds.proof.operators import OPERATORS
from bounds.proving.written import write
from tests.bounds.proof.nets import leaf, onnx_bytes
from tests.bounds.proof.test_network import CASES, model_of

FOLDER = Path(proof.__file__).parent
# What the core knows with a constant alone, or with one on the other side.
OF_VALUES = {"product", "matrices", "attention", "matmul left", "matmul vector"}
_LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
PROGRAM = """
import sys
from pathlib import Path
if sys.argv[1] == "blocked":
    sys.modules["bounds.proof.more"] = None
from bounds.proof import Refused, model_bytes, read
from bounds.proof.check import check
for name in sys.argv[2:]:
    try:
        print(check(read(Path(f"{name}.proof")), model_bytes(Path(f"{name}.onnx"))).least.hex())
    except Refused as refusal:
        print(refusal)
assert not any(name.startswith("bounds.proof.more.") for name in sys.modules)
"""


def convolutional() -> bytes:
    """Convolutions with a residual, batch norm, leaky ReLU and max pooling."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "s"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["d"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["d", "r"], ["a"]),
        helper.make_node("LeakyRelu", ["a"], ["l"]),
        helper.make_node("MaxPool", ["l"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "g", "h"], ["y"], transB=1),
    ]
    shapes = {"v": (3, 2, 3, 3), "w": (3, 3, 3, 3), "b": (3,), "m": (3,), "g": (4, 12), "h": (4,)}
    constants = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    constants["s"] = np.float32([0.5, 1.0, 2.0])
    return onnx_bytes(nodes, constants, [1, 2, 4, 4])


def power() -> bytes:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Pow", ["r", "n"], ["y"], "cube")]
    return onnx_bytes(nodes, {"n": np.float32(3)}, [1, 4])


def softmax() -> bytes:
    return onnx_bytes([helper.make_node("Softmax", ["x"], ["y"], "shares")], {}, [1, 4])


def sigmoid() -> bytes:
    return onnx_bytes([helper.make_node("Sigmoid", ["x"], ["y"], "curve")], {}, [1, 4])


def product() -> bytes:
    return onnx_bytes([helper.make_node("Mul", ["x", "x"], ["y"], "square")], {}, [1, 4])


NETWORKS = {
    "convolutional": convolutional,
    "power": power,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "product": product,
}


def proved(data: bytes) -> Proof:
    """Some linear function of the outputs is above what it can be at least."""
    network = Checker(data, "real").chain.network
    middle = np.random.default_rng(1).normal(size=network.inputs)
    rows = np.random.default_rng(2).normal(size=(1, network.size(network.output)))
    part = Part(middle - 0.05, middle + 0.05, (Clause(rows, np.array([100.0])),))
    return Proof(Statement(digest(data), "real", (part,)), (leaf(part),))


@pytest.mark.parametrize("way", ["blocked", "deleted"])
def test_without_its_extension(way: str, tmp_path: Path) -> None:
    """In a process that cannot import it, and from a copy of the core's folder alone."""
    shutil.copytree(
        FOLDER, tmp_path / "bounds" / "proof", ignore=shutil.ignore_patterns("more", "__pycache__")
    )
    (tmp_path / "bounds" / "__init__.py").touch()
    for name, network in NETWORKS.items():
        (tmp_path / f"{name}.onnx").write_bytes(network())
        write(tmp_path / f"{name}.proof", proved(network()))
    root = tmp_path if way == "deleted" else FOLDER.parents[1]
    names = [str(tmp_path / name) for name in NETWORKS]
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, way, *names], cwd=root, capture_output=True, text=True, check=True
    )
    least = check(proved(convolutional()), convolutional()).least
    assert least is not None
    assert found.stdout.splitlines() == [
        least.hex(),
        "Pow 'cube': this operator is not supported by the checker",
        "Sigmoid 'curve': this operator is not supported by the checker",
        "Softmax 'shares': this operator is not supported by the checker",
        "Mul 'square': an input that should be a constant is not one, or absent",
    ]


def bound(data: bytes) -> Array:
    return Checker(data, "real").bounds(proved(data).statement.parts[0], proved(data).trees[0])


@pytest.mark.parametrize("name", CASES)
def test_every_case_has_the_same_bound_or_is_refused_by_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = model_of(name)
    with np.errstate(all="ignore"):
        whole = bound(data)
    steps = Checker(data, "real").chain.network.steps
    monkeypatch.setattr(reading, "MORE", {})
    try:
        found = bound(data)
    except Refused as refusal:
        op = refusal.place.split()[0]
        assert op in MORE
        assert op not in {*OPERATORS, *MOVES} or name in OF_VALUES
        return
    np.testing.assert_array_equal(found, whole)
    assert all(".more" not in type(step.does).__module__ for step in steps)


def test_the_core_speaks_of_its_extension_in_one_place() -> None:
    found = [
        (path.name, ast.unparse(node))
        for path in sorted(FOLDER.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom) and "more" in ast.unparse(node)
    ]
    assert found == [("onnx.py", "from bounds.proof.more import MORE")]


def _lines_of_code(path: Path) -> int:
    """Lines with anything but a comment or a docstring on them."""
    text, lines = path.read_text(), set[int]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _LAYOUT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def test_the_core_is_as_short_as_its_page_says() -> None:
    assert _lines_of_code(FOLDER / "basics.py") == 12  # counted by hand
    assert sum(map(_lines_of_code, FOLDER.glob("*.py"))) < 1500
