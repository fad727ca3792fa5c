"""Proofs of networks with products of two values, softmax, powers and waves: made small, and of the field."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper

import bounds
from bounds.proof import Refused, model_bytes
from bounds.proof.basics import Array
from bounds.proof.check import check
from bounds.proof.file import unpacked
from bounds.proving import prove
from bounds.proving.written import packed
from bounds.search import Status
from bounds.vnnlib import read_vnnlib

from ..proof.nets import onnx_bytes
from .test_prove import read_back


def attention(folder: Path) -> tuple[bounds.Graph, bytes]:
    """Two tokens that look at each other, through products, softmax and averages."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "q"], ["a"]),
        helper.make_node("Transpose", ["a"], ["t"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "t"], ["s"]),
        helper.make_node("Softmax", ["s"], ["w"]),
        helper.make_node("MatMul", ["w", "x"], ["m"]),
        helper.make_node("Mul", ["m", "a"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["y"]),
    ]
    weights = {"q": rng.normal(size=(3, 3)), "v": rng.normal(size=(6, 2))}
    given: dict[str, Array] = {name: w.astype(np.float32) for name, w in weights.items()}
    return read_back(onnx_bytes(nodes, given, ["batch", 2, 3], out_shape=["batch", 2]), folder)


def asked(graph: bounds.Graph, off: float) -> tuple[bounds.Box, bounds.Spec]:
    """Rows whose least values among many points are ``off``."""
    g = torch.Generator().manual_seed(0)
    centre = torch.rand(1, *graph.input_shape, generator=g, dtype=torch.float64)
    region, matrix = bounds.Box(centre - 0.15, centre + 0.15), torch.eye(2, dtype=torch.float64)[None]
    share = torch.rand(20000, *graph.input_shape, generator=g, dtype=torch.float64)
    values = graph.to(torch.float64)(region.lower + share * (region.upper - region.lower))
    return region, bounds.Spec(matrix, off - values.amin(0)[None])


def test_attention_is_proved_and_nothing_false_of_it(tmp_path: Path) -> None:
    graph, data = attention(tmp_path)
    region, spec = asked(graph, 0.2)
    found = prove(graph, region, spec, data, timeout=60)
    assert found.proof is not None
    assert check(unpacked(packed(found.proof)), data) == found.checked
    assert prove(graph, *asked(graph, -1e-6), data, timeout=2).proof is None
    [part] = found.proof.statement.parts
    false = replace(part, clauses=tuple(replace(c, offset=c.offset - 0.2001) for c in part.clauses))
    with pytest.raises(Refused, match="its bound"):
        check(replace(found.proof, statement=replace(found.proof.statement, parts=(false,))), data)


def test_planes_and_tangents_of_a_search_go_into_the_proof(tmp_path: Path) -> None:
    """Other codes, or the checker's own, prove less than those which were found."""
    graph, data = attention(tmp_path)
    region, spec = asked(graph, 0.2)
    proof = prove(graph, region, spec, data, timeout=60).proof
    assert proof is not None
    assert any(tree.slopes.any() for tree in proof.trees)
    for change in (np.zeros_like, np.negative):  # none, or 256 less each
        trees = tuple(replace(tree, slopes=change(tree.slopes)) for tree in proof.trees)
        with pytest.raises(Refused, match="its bound"):
            check(replace(proof, trees=trees), data)


@pytest.mark.parametrize(
    ("net", "prop"),
    [
        ("ml4acopf/onnx/14_ieee_ml4acopf", "ml4acopf/vnnlib/14_ieee_prop3"),
        ("ml4acopf/onnx/14_ieee_ml4acopf-linear-residual", "ml4acopf/vnnlib/14_ieee_prop8"),
        ("nn4sys/onnx/mscn_128d", "nn4sys/vnnlib/cardinality_0_1_128"),
        ("nn4sys/onnx/pensieve_small_parallel", "nn4sys/vnnlib/pensieve_parallel_28"),
        pytest.param("vit/onnx/pgd_2_3_16", "vit/vnnlib/pgd_2_3_16_3705", marks=pytest.mark.slow),
    ],
)
def test_instances_of_the_field(net: str, prop: str, data_dir: Path) -> None:
    file, property_ = (data_dir / "vnncomp" / name for name in (f"{net}.onnx.gz", f"{prop}.vnnlib.gz"))
    graph, (flat, spec), data = bounds.read_onnx(file), read_vnnlib(property_), model_bytes(file)
    shape = (len(flat), *graph.input_shape)
    region = bounds.Box(flat.lower.view(shape), flat.upper.view(shape))
    found = prove(graph, region, spec, data, timeout=120)
    assert set(found.statuses) == {Status.VERIFIED}
    assert found.proof is not None
    assert check(unpacked(packed(found.proof)), data) == found.checked
